"""The weights of a supernet folder, put into the supernet that its card describes."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from nas.core.errors import DataError
from supernets.card import CARD, WEIGHTS

Net = TypeVar("Net", bound=nn.Module)


def with_weights(make: Callable[[], Net], weights: bytes, *, folder: Path,
                 device: torch.device, name: str = WEIGHTS) -> Net:
    """Returns a supernet in evaluation mode, channels last.

    Args:
        make: Makes it with weights that say nothing.
        weights: Content of the folder's safetensors file.
        folder: For what an error says.
        device: Where it is to lie.
        name: Of the file, for the same.

    Raises:
        DataError: The weights are not those of such a supernet.
    """
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
            supernet = make()
        supernet.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{folder / name} does not fit {CARD} ({reason}); train again") from None
    return supernet.to(device=device).to(memory_format=torch.channels_last).eval()
