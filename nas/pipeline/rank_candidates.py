"""What is ranked: networks drawn from a supernet's space, or plain models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch, ZeroCostProxy
from nas.core.registry import unknown_name
from nas.core.rng import derive_rng, derive_seed
from nas.core.space import SearchSpace
from nas.evaluation.inherited import InheritedEvaluator
from nas.evaluation.proxy_scores import ProxyScores, Weights, proxy_batch
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import torch_device

TIMM = "timm:"
QUALITY = "error"  # of validation; less is better


@dataclass(frozen=True, slots=True)
class Candidates:
    """Networks by name, and what can be done with one.

    Attributes:
        archs: Name (a digest, or a model's) → its choices; empty for plain models.
        score: (proxy's name, proxy, network) → score.
        validate: Network → truth, higher is better; None where there is no data.
    """

    archs: Mapping[str, Mapping[str, Any]]
    score: Callable[[str, ZeroCostProxy, str], float]
    validate: Callable[[str], float] | None

    @property
    def names(self) -> Sequence[str]:
        """In the order of drawing."""
        return list(self.archs)


def supernet_candidates(name: str, *, n: int, weights: Weights, batch: int,
                        seed: int) -> Candidates:
    """Returns n different networks of a supernet, drawn as a searcher draws them.

    Raises:
        InputError: No such supernet, or its space has fewer networks.
    """
    supernet = load_supernet(name)
    space = supernet.space
    require_enough(space, n)
    rng = derive_rng(seed, "ranked networks")
    archs: dict[str, Arch] = {}
    while len(archs) < n:
        for arch in space.decode(space.sample_codes(n - len(archs), rng)):
            archs[arch.digest] = arch
    examples = proxy_batch(supernet.task.batches("train_calib"), batch)
    evaluate = InheritedEvaluator(supernet)

    def score(proxy_name: str, proxy: ZeroCostProxy, network: str) -> float:
        return ProxyScores(proxy_name, supernet, proxy, batch=examples, weights=weights,
                           seed=seed).compute(archs[network])

    return Candidates({digest: arch.as_dict() for digest, arch in archs.items()}, score,
                      lambda network: -evaluate(archs[network])[QUALITY])


def require_enough(space: SearchSpace, n: int) -> None:
    """Passes if a space has n different networks.

    Raises:
        InputError: It has fewer.
    """
    if space.size < n:
        raise InputError(f"--n {n}: {space.id} has only {space.size} networks")


def plain_models(names: Sequence[str], *, batch: int, seed: int) -> Candidates:
    """Returns timm models at their default initialisation, scored on noise and random labels.

    Args:
        names: ``timm:NAME`` each.
        batch: Inputs, of each model's own size.
        seed: Of initialisation and inputs.

    Raises:
        InputError: A name that timm does not have; the nearest ones are offered.
    """
    known = timm.list_models()
    for name in names:
        if not name.startswith(TIMM):
            raise InputError(f"--model {name}: give it as timm:NAME")
        plain = name.removeprefix(TIMM)
        if plain not in known:
            raise InputError(unknown_name("timm model", plain, known).partition(" (`nas")[0])

    def score(proxy_name: str, proxy: ZeroCostProxy, network: str) -> float:
        module = _fresh(network.removeprefix(TIMM), derive_seed(seed, "initialisation"))
        rng = derive_rng(seed, f"proxy {proxy_name}")
        try:
            return proxy(module, _noise(module, batch, seed), loss=F.cross_entropy, rng=rng)
        except InputError as error:  # this model lacks what the proxy needs; another may not
            raise EvaluationError(str(error)) from None

    return Candidates({name: {} for name in names}, score, None)


def _fresh(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(name, pretrained=False)
    return module.to(torch_device())


def _noise(module: nn.Module, batch: int, seed: int) -> Batch:
    rng = derive_rng(seed, "noise")
    shape = module.default_cfg["input_size"]  # type: ignore[index]
    classes = int(module.num_classes)  # type: ignore[arg-type]
    x = rng.standard_normal((batch, *shape), dtype=np.float32)
    y = rng.integers(0, classes, batch)
    return torch.from_numpy(x).to(torch_device()), torch.from_numpy(y).to(torch_device())
