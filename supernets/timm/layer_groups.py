"""Which layer each weight of a timm supernet belongs to, as timm's own optimizers ask for it."""

from collections.abc import Callable
from typing import Any

from timm.models import group_parameters
from torch import nn

MODEL, MAPS = "model.", "kernel_maps.maps."  # what the names of a supernet's weights begin with


def layer_matcher(model: Any, *, coarse: bool) -> Callable[[str], int]:
    """Returns what gives the layer of a supernet's weight by its name, counted from the input.

    The layers are those of the model's own `group_matcher`; a kernel map is of its convolution's.
    """
    layers: dict[str, int] = group_parameters(
        model, model.group_matcher(coarse=coarse), reverse=True)

    def layer(name: str) -> int:
        if name.startswith(MAPS):
            conv = name.removeprefix(MAPS).partition(":")[0].replace("/", ".")
            return layers[f"{conv}.weight"]
        return layers[name.removeprefix(MODEL)]

    return layer


def free_of_decay(model: nn.Module) -> set[str]:
    """Returns the names of a supernet's weights that timm exempts from weight decay."""
    listed: Callable[[], set[str]] | None = getattr(model, "no_weight_decay", None)
    return set() if listed is None else {f"{MODEL}{name}" for name in listed()}
