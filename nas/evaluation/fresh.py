"""Networks with weights drawn anew."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from nas.core.errors import InputError


def initialise(module: nn.Module, seed: int) -> None:
    """Draws the weights of every layer anew, in place, as its own class does."""
    # Layers draw from torch's global generator: it is given back as it was.
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if not callable(reset):
                continue
            with parametrize.cached():
                reset()
                if parametrize.is_parametrized(part):
                    _assign_drawn(part)


def _assign_drawn(part: nn.Module) -> None:
    # A layer draws into a computed weight, of which its parameters know nothing until it is
    # assigned.
    for name in cast("Mapping[str, nn.Module]", part.parametrizations):
        setattr(part, name, getattr(part, name).detach().clone())


def check_can_initialise(module: nn.Module) -> None:
    """Checks that `initialise` reaches every weight.

    Raises:
        InputError: Some belong to a layer that cannot draw them, such as position embeddings.
    """
    for name, part in module.named_modules():
        own = [weight for weight, _ in part.named_parameters(recurse=False)]
        if own and not callable(getattr(part, "reset_parameters", None)):
            where = f"{name}.{own[0]}" if name else own[0]
            raise InputError(f"networks of this supernet cannot start from scratch: a "
                             f"{type(part).__name__} does not draw its {where} anew; use "
                             "--train-from inherited")
