"""Supernets of timm models with random weights: what holds of them, and how large their spaces are.

Models of every family, at their own image sizes: the largest architecture against timm's model,
subnets run on the shared weights against extracted ones, closed-form MACs against torch's counter
and parameters against the module's, and ONNX Runtime against torch. Differences of logits are
relative to the largest logit. Writes ``docs/benchmarks/timm.json``. With ``--all``, the first check
on every timm model of a class that is understood, with its axes and the size of its space: writes
``supernets/timm/models.json``, which `nas list supernets --timm` reads.

    python tests/benchmarks/bench_timm.py --work FOLDER [--all [--up-to MILLIONS]]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _report import write_report
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from timm_models import Images

import supernets.timm
from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError, SpaceError
from nas.export.onnx import export_onnx
from nas.export.parity import open_session, run
from nas.pipeline.device import one_thread
from supernets.timm.elastic import Elastic
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet
from supernets.tracing import trace_segments

MODELS = ("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100",
          "mobilenetv4_conv_small", "mnasnet_100", "efficientnet_b0", "tf_efficientnet_lite0",
          "tf_efficientnetv2_b0", "resnet18", "resnet50", "resnext50_32x4d", "seresnet50",
          "vit_tiny_patch16_224", "deit_tiny_patch16_224", "convnext_atto", "convnextv2_atto",
          "regnetx_002", "regnety_002")
SUBNETS, EXPORTS = 50, 3
SEED = 0


def main() -> None:
    """Checks what is not in the work folder yet, and writes the report of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--up-to", type=float, default=float("inf"), metavar="MILLIONS",
                        help="of parameters; larger models are reported as not looked at")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    with one_thread(), torch.no_grad():
        if given.all:
            sizes = {row["name"]: row["millions"] for row in kept(
                given.work / "sizes.jsonl", candidates(), size)}
            names = sorted((name for name in sizes if sizes[name] <= given.up_to), key=sizes.get)
            rows = list(kept(given.work / "all.jsonl", names, glance))
            costs = {row["name"]: row["why"] for row in kept(
                given.work / "traced.jsonl", names, traced)}
            write_catalogue(rows, costs, sorted(set(sizes) - set(names)))
        else:
            rows = list(kept(given.work / "models.jsonl", MODELS, examine))
            write_report("timm", {"subnets": SUBNETS, "exports": EXPORTS + 2, "models": rows},
                         seed=SEED)


def kept(path: Path, names: Any, work: Any) -> Iterator[dict[str, Any]]:
    """Yields a row of each name, from the file or made now and added to it."""
    done = {row["name"]: row for row in map(json.loads, path.read_text().splitlines())
            } if path.is_file() else {}
    for name in names:
        if name not in done:
            started = time.process_time()
            done[name] = {"name": name, **work(name),
                          "cpu_s": round(time.process_time() - started, 1)}
            print(done[name], flush=True)
            with path.open("a") as file:
                file.write(json.dumps(done[name]) + "\n")
        yield done[name]


def candidates() -> list[str]:
    """Returns timm's models of the files that hold the classes that are understood."""
    files = ("efficientnet", "mobilenetv3", "hardcorenas", "resnet", "vision_transformer", "deit",
             "convnext", "regnet")
    return sorted({name for file in files for name in timm.list_models(module=file)})


def size(name: str) -> dict[str, Any]:
    """Returns how many parameters a model has."""
    with torch.device("meta"):
        model = timm.create_model(name)
    return {"millions": sum(parameter.numel() for parameter in model.parameters()) / 1e6}


def make(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Returns a model of random weights, in evaluation mode, and the shape of its input."""
    torch.manual_seed(SEED)
    model = timm.create_model(name)
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if path.endswith("running_var"):
            tensor.uniform_(0.8, 1.6)
        elif path.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif tensor.ndim == 1 and path.endswith(("weight", "gamma")):
            tensor.uniform_(0.3, 1.0)
    return model.eval(), tuple(model.default_cfg["input_size"])


def glance(name: str) -> dict[str, Any]:
    """Returns whether the largest architecture is the model, the smallest runs, and the space."""
    try:
        model, shape = make(name)
        facts = describe_model(model)
    except (InputError, RuntimeError, ValueError, AssertionError, TypeError) as error:
        return {"supported": False, "why": str(error).splitlines()[0][:160]}
    if shape[1] > 128 and not model.default_cfg.get("fixed_input_size", False):
        shape = (shape[0], 128, 128)
    net = TimmSupernet(model, Elastic(f"timm:{name}", facts), Images(shape)).eval()
    x = net.task.example_inputs(1, np.random.default_rng(SEED))
    apart = difference(net(x, net.space.extreme(largest=True)), model(x))
    try:
        net(x, net.space.extreme(largest=False))
    except RuntimeError as error:
        return {"supported": False, "why": f"the smallest: {str(error).splitlines()[0][:140]}"}
    return {"supported": True, "family": facts.family, "largest_is_timm": apart,
            "axes": axes(net), "genes": len(net.space.genes), "space_size": net.space.size,
            "params": sum(parameter.numel() for parameter in model.parameters())}


def traced(name: str) -> dict[str, Any]:
    """Returns why the model's costs cannot be told, None if they can."""
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    try:
        trace_segments(model, tuple(model.default_cfg["input_size"]), ())
    except SpaceError as error:
        return {"why": str(error).splitlines()[0][:160]}
    return {"why": None}


def axes(net: TimmSupernet) -> list[str]:
    """Returns the kinds of genes, such as depth, width, inner, kernel."""
    return sorted({gene.name.rpartition(".")[2].rstrip("12").partition("_")[0]
                   for gene in net.space.genes})


def examine(name: str) -> dict[str, Any]:
    """Returns what holds of one model's supernet."""
    model, shape = make(name)
    net = TimmSupernet(model, Elastic(f"timm:{name}", describe_model(model)), Images(shape)).eval()
    rng = np.random.default_rng(SEED)
    largest, smallest = (net.space.extreme(largest=end) for end in (True, False))
    some = [net.space.sample(rng) for _ in range(SUBNETS)]
    x = net.task.example_inputs(2, rng)
    started = time.process_time()
    blocks = len(net.vocabulary)
    traced_s = time.process_time() - started
    exact = counted_equal(net, [largest, smallest, *some], shape)
    apart = max(difference(net(x, arch), net.extract(arch)(x)) for arch in some)
    parity = max(onnx_difference(net, arch) for arch in (largest, smallest, *some[:EXPORTS]))
    return {"family": net.elastic.facts.family, "largest_is_timm": difference(
                net(x, largest), model(x)), "extract_is_forward": apart, "costs_exact": exact,
            "onnx_is_torch": parity, "genes": len(net.space.genes), "axes": axes(net),
            "space_size": net.space.size, "blocks": blocks, "tracing_cpu_s": round(traced_s, 2),
            "macs": [macs(net, smallest), macs(net, largest)]}


def counted_equal(net: TimmSupernet, archs: list[Arch], shape: tuple[int, ...]) -> str:
    """Returns of how many architectures both counts are those of the extracted module."""
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    codes = net.space.encode(archs)
    predicted = [costs.predict(metric, codes).value for metric in ("macs", "params")]
    equal = 0
    for arch, *expected in zip(archs, *predicted, strict=True):
        module = net.extract(arch).to("meta")
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, *shape, device="meta"))
        found = [counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters())]
        equal += found == expected
    return f"{equal} of {len(archs)}"


def macs(net: TimmSupernet, arch: Arch) -> int:
    """Returns the MACs of one architecture."""
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    return int(costs.predict("macs", net.space.encode([arch])).value[0])


def onnx_difference(net: TimmSupernet, arch: Arch) -> float:
    """Returns the largest difference of ONNX Runtime's logits from torch's."""
    module = net.extract(arch)
    inputs = net.task.example_inputs(2, np.random.default_rng(SEED))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(module, inputs, path, metadata={})
        found = run(open_session(path.read_bytes()), inputs.numpy(), batch=len(inputs))
    return difference(torch.from_numpy(found), module(inputs))


def difference(a: Tensor, b: Tensor) -> float:
    """Returns the largest difference of logits, relative to the largest logit of the second."""
    return float((a - b).abs().max() / b.abs().max())


def write_catalogue(rows: list[dict[str, Any]], costs: dict[str, str | None],
                    too_large: list[str]) -> None:
    """Writes what `nas list supernets --timm` reads, and the report."""
    rows = sorted(rows, key=lambda row: str(row["name"]))
    listed = [{key: row[key] for key in ("name", "family", "axes", "genes", "space_size", "params")}
              for row in rows if row["supported"] and row["largest_is_timm"] <= 1e-5
              and costs[row["name"]] is None]
    path = Path(supernets.timm.__file__).parent / "models.json"
    lines = ",\n".join("  " + json.dumps(row) for row in listed)
    path.write_text(f'{{"timm": "{version("timm")}", "models": [\n{lines}\n]}}\n')
    missing = {row["name"]: row["why"] for row in rows if not row["supported"]}
    missing |= {name: why for name, why in costs.items() if why is not None}
    apart = {row["name"]: row["largest_is_timm"] for row in rows
             if row["supported"] and row["largest_is_timm"] > 1e-5}
    write_report("timm_models", {"listed": len(listed), "looked_at": len(rows),
                                 "too_large_to_look_at": too_large,
                                 "further_apart_than_1e-5": apart,
                                 "not_supported": missing},
                 seed=SEED)


if __name__ == "__main__":
    main()
