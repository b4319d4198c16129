"""Which parameters are updated how: weight decay, and learning rates that fall towards the input.

A group may hold ``lr_scale``, as timm's groups do: its factor on the learning rate.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from nas.core.errors import InputError

OPTIMIZERS = ("sgd", "adamw")


def parameter_groups(module: nn.Module, *, weight_decay: float,
                     layer_decay: float | None) -> list[dict[str, Any]]:
    """Returns the groups of a module's parameters, each with its weight decay.

    Free of weight decay are vectors (norms, biases), kernel maps, and those that the module's
    `no_weight_decay` names.

    Args:
        module: Any network; for a layer decay it must have timm's `group_matcher`.
        weight_decay: Of the others.
        layer_decay: The factor from each layer to the one before it; None for equal rates.

    Raises:
        InputError: A layer decay for a module without `group_matcher`.
    """
    listed: Callable[[], Iterable[str]] | None = getattr(module, "no_weight_decay", None)
    exempt = set() if listed is None else set(listed())
    if layer_decay is not None:
        return _by_layer(module, weight_decay, layer_decay, exempt)
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        is_free = parameter.ndim < 2 or "kernel_maps" in name or name in exempt
        (free if is_free else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0}]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every group, times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def _by_layer(module: nn.Module, weight_decay: float, layer_decay: float,
              exempt: set[str]) -> list[dict[str, Any]]:
    if not hasattr(module, "group_matcher"):
        raise InputError(f"a {type(module).__name__} does not say which layers follow which "
                         "(group_matcher, as timm's networks do); train without layer decay")
    from timm.optim._param_groups import param_groups_layer_decay

    groups: list[dict[str, Any]] = param_groups_layer_decay(
        module, weight_decay=weight_decay, layer_decay=layer_decay,
        no_weight_decay_list=[*sorted(exempt), "*kernel_maps*"])
    return groups
