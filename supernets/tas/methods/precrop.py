"""PreCrop: widths from the network's costs alone, without data or gradients."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from nas.core.arch import Arch
from nas.core.types import IntArray
from supernets.tas.budget import topped_up
from supernets.tas.methods.uniform import nearest_to
from supernets.tas.subject import Subject
from supernets.timm.supernet import TimmSupernet

_HALVINGS = 60


def precrop(subject: Subject) -> Arch:
    """Returns the architecture of PreCrop (arXiv 2203.02549, sections 3 and 4).

    Layer l of cost a_l keeps the density p_l = min(1, τ / a_l), which maximises Σ log p_l within a
    budget of Σ a_l p_l; its width is √p_l of the whole one. A width that several layers share, as
    between residual blocks, is their mean. Unlike there, τ is what brings the *network*, with the
    widths that the space has, to the budget, which may also be one of parameters or latency. Many
    layers of one cost step down together, so what is left is given to single ones (`topped_up`).

    Raises:
        InputError: The narrowest network of full depth is above the budget.
    """
    budget, space = subject.budget, subject.budget.cost.space
    costs = layer_costs(subject.supernet, count_macs=budget.cost.metric != "params")
    elastic = subject.supernet.elastic

    def widths(tau: float) -> dict[str, float]:
        parts: dict[str, list[float]] = {}
        for path, cost in costs.items():
            axes = elastic.facts.layout.axes.get(f"{path}.weight")
            if axes is not None and axes[0] is not None and axes[0].dim in elastic.choices:
                parts.setdefault(axes[0].dim, []).append(min(1.0, tau / cost) ** 0.5)
        return {name: float(np.mean(values)) * elastic.choices[name][-1]
                for name, values in parts.items()}

    def at(tau: float) -> IntArray:
        code = space.encode([space.extreme(largest=True)])
        for name, wanted in widths(tau).items():
            choices = np.array(elastic.choices[name])
            code[0, space.positions[name]] = max(
                0, int(np.searchsorted(choices, wanted + 1e-9, side="right")) - 1)
        return code

    low, high = 0.0, float(max(costs.values()))
    budget.require_reached(float(budget.cost.predict(at(low))[0]), "at full depth")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        met = float(budget.cost.predict(at(middle))[0]) <= budget.limit
        low, high = (middle, high) if met else (low, middle)
    return space.decode(topped_up(budget, nearest_to(subject, widths(low)), at(low)[0])[None])[0]


def layer_costs(supernet: TimmSupernet, *, count_macs: bool) -> Mapping[str, int]:
    """Returns the multiply-adds (or weights) of each convolution and linear layer, by path."""
    model = supernet.meta
    found: dict[str, int] = {}

    def count(path: str, layer: nn.Module, output: torch.Tensor) -> None:
        weights = layer.get_parameter("weight").numel()
        outputs = output[0].numel() // layer.get_parameter("weight").shape[0]
        found[path] = found.get(path, 0) + weights * (outputs if count_macs else 1)

    handles = [layer.register_forward_hook(
        lambda layer, _, output, path=path: count(path, layer, output))
        for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    try:
        with torch.no_grad():
            shape = supernet.task.example_inputs(1, np.random.default_rng(0)).shape
            model(torch.empty(shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return found
