"""Channel-wise interpolation: feature maps of different widths made equally wide."""

import torch
from torch import Tensor


def interpolated(x_BCHW: Tensor, channels: int) -> Tensor:
    """Returns feature maps of as many channels, (B, channels, H, W).

    Output channel j is the mean of the input's channels ⌊jC/C'⌋ … ⌈(j+1)C/C'⌉ − 1 (arXiv
    1905.09717, section 3.2), as ``adaptive_avg_pool3d`` over channels. Where none are missing
    the input itself comes back.

    Args:
        x_BCHW: With no more channels than are wanted.
        channels: C'.

    Raises:
        ValueError: It has more.
    """
    given = x_BCHW.shape[1]
    if given == channels:
        return x_BCHW
    if given > channels:
        raise ValueError(f"{given} channels are not interpolated to fewer, {channels}")
    first, last = (end.to(x_BCHW.device) for end in ends(given, channels))
    return 0.5 * (x_BCHW.index_select(1, first) + x_BCHW.index_select(1, last))


def ends(given: int, channels: int) -> tuple[Tensor, Tensor]:
    """Returns the first and the last input channel of each output channel, (channels,) each.

    As there are no fewer output channels, no mean is over more than two input channels.
    """
    place = torch.arange(channels)
    return place * given // channels, ((place + 1) * given + channels - 1) // channels - 1
