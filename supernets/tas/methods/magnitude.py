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

    channels = Channels(subject)

    def network(part: float) -> Arch:
        preferences = _preferences(subject, channels.widths(part))
        values = tuple((gene.name, gene.choices[int(np.argmax(preferences[gene.name]))])
                       for gene in space.genes)
        return space.canonical(Arch(space.id, values))

    low, high = 0.0, _DEEPEST
    if budget.cost.of(network(low)) <= budget.limit:
        high = low
    for _ in range(_HALVINGS if high > low else 0):
        middle = (low + high) / 2
        met = budget.cost.of(network(middle)) <= budget.limit
        low, high = (low, middle) if met else (middle, high)
    return best_within(budget, _preferences(subject, channels.widths(high)))


class Channels:
    """What torch-pruning would leave of a model; nothing is pruned, so that it can say so again.

    Args:
        subject: What is pruned.

    Raises:
        InputError: torch-pruning is not installed.
    """

    def __init__(self, subject: Subject) -> None:
        pruning = _torch_pruning()
        self._elastic = subject.supernet.elastic
        model = copy.deepcopy(subject.supernet.model).cpu().eval()
        for parameter in model.parameters():
            parameter.requires_grad_(True)  # those without a gradient are not found
        layers = {path: layer for path, layer in model.named_modules()
                  if isinstance(layer, nn.Conv2d | nn.Linear)}
        outputs = _elastic_outputs(subject)
        self._axes = {id(layers[path]): axis for path, axis in outputs.items()}
        shape = subject.supernet.task.example_inputs(1, np.random.default_rng(0)).shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that belong to no layer
            self._pruner: Any = pruning.pruner.BasePruner(
                model, torch.zeros(shape), global_pruning=True,
                importance=_Remembered(pruning.importance.GroupMagnitudeImportance(p=2)),
                round_to=self._elastic.ratios.multiple,
                ignored_layers=[layer for path, layer in layers.items() if path not in outputs])

    def widths(self, part: float) -> dict[str, int]:
        """Returns what is left of each width, where that is less than the whole one.

        Args:
            part: Of all channels that go, 0 … 1.
        """
        self._pruner.current_step, self._pruner.per_step_pruning_ratio = 0, [0.0, part]
        found = {}
        for group in self._pruner.step(interactive=True):
            for dependency, gone in group:
                layer = dependency.target.module
                if gone and id(layer) in self._axes and self._pruner.DG.is_out_channel_pruning_fn(
                        dependency.handler):
                    axis = self._axes[id(layer)]
                    units = (layer.weight.shape[0] - len(gone)) // (axis.outer * axis.unit)
                    found[axis.dim] = units * self._elastic.facts.layout.dims[axis.dim].step
        return found


class _Remembered:
    """The importance of each group, computed once."""

    def __init__(self, importance: Any) -> None:
        self._importance = importance
        self._known: dict[int, Any] = {}

    def __call__(self, group: Any) -> Any:
        root = id(group[0].dep.target.module)
        if root not in self._known:
            self._known[root] = self._importance(group)
        return self._known[root]


def _elastic_outputs(subject: Subject) -> dict[str, Axis]:
    # Path of each convolution and linear layer with an elastic width → that of its output.
    elastic = subject.supernet.elastic
    axes = {path: elastic.facts.layout.axes.get(f"{path}.weight", (None,))[0]
            for path, layer in subject.supernet.model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)}
    return {path: axis for path, axis in axes.items()
            if axis is not None and axis.dim in elastic.choices}


def _preferences(subject: Subject, widths: Mapping[str, int]) -> dict[str, list[float]]:
    choices = subject.supernet.elastic.choices
    near = nearest_to(subject, {name: widths.get(name, choices[name][-1]) for name in choices
                                if name in subject.budget.cost.space.positions})

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
