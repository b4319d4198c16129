"""Convolutions that run with the leading part of stored weights.

Legend: B batch, C channels, H and W image sides. The weight is stored at its largest size; a
forward pass takes views of it, never copies, and the layer keeps no memory of the last one.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import ArchError


class ElasticConv2d(nn.Module):
    """A square convolution with elastic input and output channels and one kernel size.

    Args:
        in_channels: Largest number of input channels.
        out_channels: Largest number of output channels.
        kernel_size: Side of the kernel, odd; the padding is ``kernel_size // 2``.
        stride: Of the convolution.
        bias: Whether to add one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, *,
                 stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        # Fan-out He initialisation, as MobileNetV2 and timm's EfficientNet have it.
        nn.init.normal_(self.weight, std=(2.0 / (kernel_size**2 * out_channels)) ** 0.5)

    def forward(self, x_BCHW: Tensor, out_channels: int) -> Tensor:
        """Returns (B, out_channels, H', W'), from the first input and output channels.

        Raises:
            ArchError: More channels than are stored.
        """
        weight = self.sliced(x_BCHW.shape[1], out_channels)
        bias = None if self.bias is None else self.bias[:out_channels]
        return F.conv2d(x_BCHW, weight, bias, stride=self.stride, padding=self.padding)

    def sliced(self, in_channels: int, out_channels: int) -> Tensor:
        """Returns the view (out_channels, in_channels, K, K) of the weight."""
        stored_out, stored_in = self.weight.shape[:2]
        if out_channels > stored_out or in_channels > stored_in:
            raise ArchError(f"conv stores {stored_in}→{stored_out} channels, asked for "
                            f"{in_channels}→{out_channels}")
        return self.weight[:out_channels, :in_channels]


class ElasticDepthwiseConv2d(nn.Module):
    """A depthwise convolution with elastic channels and kernel.

    A smaller kernel is a learnt linear map of the centre of the next larger one, one matrix for
    each step down, shared by all channels and started at the identity (Cai et al.,
    "Once-for-All", arXiv 1908.09791, section 3.2).

    Args:
        channels: Largest number of channels.
        kernel_sizes: Odd sides, ascending.
        stride: Of the convolution.
    """

    def __init__(self, channels: int, kernel_sizes: Sequence[int], *, stride: int = 1) -> None:
        super().__init__()
        self.kernel_sizes = tuple(kernel_sizes)
        self.stride = stride
        largest = self.kernel_sizes[-1]
        self.weight = nn.Parameter(torch.empty(channels, 1, largest, largest))
        nn.init.normal_(self.weight, std=(2.0 / largest**2) ** 0.5)
        self.kernel_maps = nn.ParameterDict({
            f"{large}to{small}": nn.Parameter(torch.eye(small * small))
            for small, large in pairwise(self.kernel_sizes)
        })

    def forward(self, x_BCHW: Tensor, kernel_size: int) -> Tensor:
        """Returns (B, C, H', W') for the channel count of the input.

        Raises:
            ArchError: A kernel that is no choice, or more channels than are stored.
        """
        channels = x_BCHW.shape[1]
        weight = self.sliced(channels, kernel_size)
        return F.conv2d(x_BCHW, weight, stride=self.stride, padding=kernel_size // 2,
                        groups=channels)

    def sliced(self, channels: int, kernel_size: int) -> Tensor:
        """Returns the weight (channels, 1, K, K): a view for the largest kernel, else its map."""
        if kernel_size not in self.kernel_sizes:
            raise ArchError(f"depthwise conv has kernels {self.kernel_sizes}, not {kernel_size}")
        if channels > self.weight.shape[0]:
            raise ArchError(f"depthwise conv stores {self.weight.shape[0]} channels, asked for "
                            f"{channels}")
        weight = self.weight[:channels]
        for small, large in reversed(list(pairwise(self.kernel_sizes))):
            if small < kernel_size:
                break
            rim = (large - small) // 2
            centre = weight[:, :, rim:large - rim, rim:large - rim]
            mapped = centre.reshape(channels, small * small) @ self.kernel_maps[f"{large}to{small}"]
            weight = mapped.view(channels, 1, small, small)
        return weight
