"""Networks with weights drawn anew."""

import torch
from torch import nn


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
