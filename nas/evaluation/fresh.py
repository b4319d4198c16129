"""Networks with weights drawn anew."""

import torch
from torch import nn

from nas.core.errors import InputError


def initialise(module: nn.Module, seed: int) -> None:
    """Draws the weights of every layer anew, in place, as its own class does."""
    # Layers draw from torch's global generator: it is given back as it was.
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


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
