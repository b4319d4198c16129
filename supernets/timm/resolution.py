"""A network on smaller images than it is given. Legend: B batch, C channels, H and W sides."""

import torch.nn.functional as F
from torch import Tensor, nn

NETWORK = "network"  # the attribute, and what the names of its tensors begin with


class AtResolution(nn.Module):
    """Makes images smaller, and runs a network on them.

    The exported file then takes images as they are, so that validation, export and latency need
    not know of resolutions; what the smaller image costs is measured with the rest.

    Args:
        network: Takes images (B, C, side, side).
        side: In pixels.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network = network
        self.side = side

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns the network's output for images of any size."""
        smaller = F.interpolate(x_BCHW, size=(self.side, self.side), mode="bilinear",
                                align_corners=False)
        output: Tensor = self.network(smaller)
        return output
