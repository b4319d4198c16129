"""Magnitude: channels of small weights go, by torch-pruning."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene
from supernets.tas.budget import best_within
from supernets.tas.methods.uniform import least_cost, nearest_to
from supernets.tas.subject import Subject
from supernets.timm.layout import Axis

_HALVINGS = 12
_DEEPEST = 0.98  # part of all channels
_KEPT = 1e3  # how much rather a width moves than anything else


def magnitude(subject: Subject) -> Arch:
    """Returns the architecture whose widths torch-pruning chooses (arXiv 2301.12900).

    Channels are ranked over the whole network by the norm of their group, all that goes with them
    in one piece, relative to its layer's mean group (`GroupMagnitudeImportance`, global pruning);
    the widths that are left are multiples of the space's, ``round_to``. The part that goes is
    searched for until the network costs the budget. The space has few widths, so the nearest ones
    are taken, and where that misses the budget single widths move: see `best_within`. Depth stays.

    Raises:
        InputError: torch-pruning is not installed, or the budget is not reached at full depth.
    """
    budget, space = subject.budget, subject.budget.cost.space
    whole = space.encode([space.extreme(largest=True)])[0]
    budget.require_reached(least_cost(subject, whole), "at full depth")

    def network(part: float) -> Arch:
        preferences = _preferences(subject, pruned_widths(subject, part))
        values = tuple((gene.name, gene.choices[int(np.argmax(preferences[gene.name]))])
                       for gene in space.genes)
        return space.canonical(Arch(space.id, values))

    low, high = 0.0, _DEEPEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        met = budget.cost.of(network(middle)) <= budget.limit
        low, high = (low, middle) if met else (middle, high)
    return best_within(budget, _preferences(subject, pruned_widths(subject, high)))


def pruned_widths(subject: Subject, part: float) -> dict[str, int]:
    """Returns what torch-pruning leaves of each width of the model, where it may prune it.

    Args:
        subject: What is pruned.
        part: Of all channels that go, 0 … 1.

    Raises:
        InputError: torch-pruning is not installed.
    """
    pruning = _torch_pruning()
    elastic = subject.supernet.elastic
    model = copy.deepcopy(subject.supernet.model).cpu().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # those without a gradient are not found
    shape = subject.supernet.task.example_inputs(1, np.random.default_rng(0)).shape
    elastic_layers = _elastic_outputs(subject)
    fixed = [layer for path, layer in model.named_modules()
             if isinstance(layer, nn.Conv2d | nn.Linear) and path not in elastic_layers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that belong to no layer
        pruner = pruning.pruner.BasePruner(
            model, torch.zeros(shape), importance=pruning.importance.GroupMagnitudeImportance(p=2),
            global_pruning=True, pruning_ratio=part, round_to=elastic.ratios.multiple,
            ignored_layers=fixed)
        pruner.step()
    return {axis.dim: model.get_parameter(f"{path}.weight").shape[0] // (axis.outer * axis.unit)
            * elastic.facts.layout.dims[axis.dim].step
            for path, axis in _elastic_outputs(subject).items()}


def _elastic_outputs(subject: Subject) -> dict[str, Axis]:
    # Path of each convolution and linear layer with an elastic width → that of its output.
    elastic = subject.supernet.elastic
    axes = {path: elastic.facts.layout.axes.get(f"{path}.weight", (None,))[0]
            for path, layer in subject.supernet.model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)}
    return {path: axis for path, axis in axes.items()
            if axis is not None and axis.dim in elastic.choices}


def _preferences(subject: Subject, widths: Mapping[str, int]) -> dict[str, list[float]]:
    near = nearest_to(subject, widths)

    def of(gene: Gene) -> list[float]:
        choices = np.array(gene.choices, dtype=np.float64)
        if gene.name in near:
            return near[gene.name]
        return list(_KEPT * (choices - choices[-1]))  # depths and kernels stay

    return {gene.name: of(gene) for gene in subject.budget.cost.space.genes}


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError:
        raise InputError("pruning by magnitude needs torch-pruning; install it with "
                         "`pip install torch-pruning`") from None
    return torch_pruning
