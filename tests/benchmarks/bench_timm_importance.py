"""What the order of importance is worth without training: tf_efficientnet_lite0, ImageNet weights.

At 90, 80 and 70 % of the MACs, the same eight random subnets (expansions alone are narrower) of
supernets whose channels are in timm's order or sorted by magnitude, gradients or activations, and
torch-pruning's magnitude pruning beside them. A network is judged by how often its first class is
the whole model's, on CIFAR-10 images at 224 pixels that nothing was calibrated on: those of
ImageNet are not at hand. With recalibrated batch norms it is compared with the whole model
recalibrated on the same images, for these are no ImageNet images. Then the model with every kernel
at its smallest, cut from the centre or with the rim folded in. Writes
``docs/benchmarks/timm_importance.json``. Takes about half an hour, the kernels a minute.

    python tests/benchmarks/bench_timm_importance.py [--only orders|kernels]
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torch_pruning
from _cifar import FOLDER, MEAN, STD, cifar_images
from _report import FOLDER as REPORTS
from _report import write_report
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from timm_models import Images

from nas.core.costs import ClosedFormCosts
from nas.core.types import IntArray
from nas.pipeline.device import one_thread
from supernets.calibrate import recalibrate
from supernets.timm.elastic import Elastic
from supernets.timm.families import ModelFacts, describe_model
from supernets.timm.importance import (
    Importance,
    by_activation,
    by_magnitude,
    by_taylor,
    sort_units,
)
from supernets.timm.supernet import TimmSupernet

MODEL = "tf_efficientnet_lite0"
WEIGHTS = FOLDER.parent / "teachers" / f"{MODEL}_timm.safetensors"
SHARES = (0.9, 0.8, 0.7)
SUBNETS = 8
TOLERANCE = 0.01  # of the share of MACs
SIDE, BATCH = 224, 64
CALIBRATION, TEST = 128, 256
SEED = 0

Judge = Callable[[nn.Module, ModelFacts, Tensor], Importance]


class Judged:
    """Compares networks with the whole model."""

    def __init__(self) -> None:
        self.calibration, self._test = images("train", CALIBRATION), images("test", TEST)
        self._plain = self._classes(whole())
        self._fitted = self._classes(self._recalibrated(whole()))

    def __call__(self, networks: Sequence[nn.Module]) -> dict[str, Any]:
        """Returns how often networks' first class is the model's, in %: median and best."""
        plain, fitted = [], []
        for network in networks:
            plain.append(agreement(self._classes(network), self._plain))
            fitted.append(agreement(self._classes(self._recalibrated(network)), self._fitted))
        return {"networks": len(networks),
                "as_they_are": {"median": statistics.median(plain), "best": max(plain)},
                "recalibrated": {"median": statistics.median(fitted), "best": max(fitted)}}

    def _classes(self, network: nn.Module) -> Tensor:
        with torch.inference_mode():
            return torch.cat([network(x).argmax(1) for x in self._test.split(BATCH)])

    def _recalibrated(self, network: nn.Module) -> nn.Module:
        return recalibrate(network, [(x, None) for x in self.calibration.split(BATCH)])


def agreement(found: Tensor, expected: Tensor) -> float:
    """Returns how many of the classes are equal, in %."""
    return round(100 * float((found == expected).float().mean()), 1)


def images(split: Any, count: int) -> Tensor:
    """Returns the first images of a split at the model's size, normalised as it takes them."""
    x = cifar_images(split)[0][:count]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    large = F.interpolate(x * std + mean, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    return (large - 0.5) / 0.5


def whole() -> nn.Module:
    """Returns the model with its ImageNet weights."""
    model = timm.create_model(MODEL)
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def taylor(model: nn.Module, facts: ModelFacts, x: Tensor) -> Importance:
    """Judges by gradients of the loss against the model's own classes."""
    def losses() -> Any:
        for part in x.split(BATCH):
            logits = model(part)
            yield F.cross_entropy(logits, logits.detach().argmax(1))

    return by_taylor(model, facts, losses())


JUDGES: dict[str, Judge | None] = {
    "timm's order": None,
    "magnitude": lambda model, facts, _: by_magnitude(model, facts),
    "gradients": taylor,
    "activations": lambda model, facts, x: by_activation(model, facts, x.split(BATCH))}


def supernet(judge: Judge | None, calibration: Tensor) -> TimmSupernet:
    """Returns the model as a supernet, its channels sorted."""
    model = whole()
    facts = describe_model(model)
    if judge is not None:
        sort_units(model, facts, judge(model, facts, calibration))
    return TimmSupernet(model, Elastic(f"timm:{MODEL}", facts), Images((3, SIDE, SIDE))).eval()


def random_subnets(net: TimmSupernet) -> dict[float, IntArray]:
    """Returns codes of subnets of each share of the MACs that are only narrower inside blocks."""
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    largest = net.space.encode([net.space.extreme(largest=True)])
    inner = [place for place, gene in enumerate(net.space.genes) if gene.name.endswith("inner")]
    rng = np.random.default_rng(SEED)
    codes = np.repeat(largest, 200_000, axis=0)
    # Each network has a size of its own: independent genes would all be of the middle.
    sizes = rng.random((len(codes), 1))
    draws = rng.random((len(codes), len(inner))) < sizes
    smaller = rng.integers(0, 4, draws.shape)
    codes[:, inner] = np.where(draws, codes[:, inner], smaller)
    shares = costs.predict("macs", codes).value / costs.predict("macs", largest).value
    return {share: codes[np.abs(shares - share) < TOLERANCE][:SUBNETS] for share in SHARES}


def pruned(share: float) -> nn.Module:
    """Returns the model pruned by torch-pruning to a share of its MACs, by bisection."""
    target, low, high = share * macs(whole()), 0.0, 0.6
    for _ in range(12):
        ratio = (low + high) / 2
        model = whole()
        torch_pruning.pruner.BasePruner(
            model, torch.zeros(1, 3, SIDE, SIDE), pruning_ratio=ratio, round_to=8,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            ignored_layers=[model.classifier]).step()
        if abs(macs(model) / target - 1) < TOLERANCE:
            break
        low, high = (ratio, high) if macs(model) > target else (low, ratio)
    return model.eval()


def macs(model: nn.Module) -> int:
    """Returns the model's MACs."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, SIDE, SIDE))
    return counter.get_total_flops() // 2


def small_kernels(judged: Judged) -> dict[str, Any]:
    """Returns what is left with the smallest kernels, by how they are made of the model's."""
    net = supernet(None, judged.calibration)
    genes = {gene.name: gene for gene in net.space.genes}
    arch = net.space.extreme(largest=True)
    arch = replace(arch, choices=tuple(
        (name, genes[name].choices[0] if name in net.elastic.kernels else value)
        for name, value in arch.choices))
    rows = {"rim folded": judged([net.extract(arch)])}
    with torch.no_grad():
        for matrix in net.kernel_maps.parameters():
            matrix.copy_(cut(round(len(matrix) ** 0.5)))
    return rows | {"centre cut": judged([net.extract(arch)])}


def cut(large: int) -> Tensor:
    """Returns the map of a kernel to its centre, (large², (large − 2)²)."""
    inside = torch.arange(large * large).view(large, large)[1:-1, 1:-1].flatten()
    return torch.eye(large * large)[:, inside]


def orders(judged: Judged) -> dict[str, Any]:
    """Returns what every order, and torch-pruning, leaves."""
    rows: dict[str, Any] = {}
    picked: dict[float, IntArray] = {}
    for name, judge in JUDGES.items():
        net = supernet(judge, judged.calibration)
        picked = picked or random_subnets(net)
        rows[name] = {
            f"{share:.0%}": judged([net.extract(arch) for arch in net.space.decode(codes)])
            for share, codes in picked.items()}
        print(name, rows[name], flush=True)
    networks = {share: pruned(share) for share in SHARES}
    rows["torch-pruning"] = {
        f"{share:.0%}": {"share_of_macs": round(macs(network) / macs(whole()), 3),
                         **judged([network])} for share, network in networks.items()}
    print("torch-pruning", rows["torch-pruning"], flush=True)
    return rows


def main() -> None:
    """Measures what is asked for and writes the report; what it has of the other part stays."""
    parts = {"orders": ("agreement_with_the_whole_model_in_percent", orders),
             "kernels": ("the_same_with_every_kernel_at_its_smallest", small_kernels)}
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=parts)
    only = parser.parse_args().only
    path = REPORTS / "timm_importance.json"
    figures = json.loads(path.read_text())["figures"] if path.is_file() else {}
    figures |= {"model": MODEL, "images": {"calibration": CALIBRATION, "test": TEST}}
    with one_thread():
        judged = Judged()
        for part, (name, measure) in parts.items():
            if only in (None, part):
                figures[name] = measure(judged)
                print(part, figures[name], flush=True)
                write_report("timm_importance", figures, seed=SEED)


if __name__ == "__main__":
    main()
