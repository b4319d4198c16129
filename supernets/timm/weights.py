"""The tensors of a subnet as parts of the whole model's, and kernels through their learnt maps."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from supernets.timm.blocks import SMALLEST_KERNEL
from supernets.timm.elastic import Subnet
from supernets.timm.layout import Axis, Layout


def part(tensor: Tensor, axes: tuple[Axis | None, ...] | None, units: Mapping[str, int]) -> Tensor:
    """Returns the leading units of a tensor along its elastic axes; a view where that can be."""
    if axes is None:
        return tensor
    for place, axis in enumerate(axes):
        if axis is None:
            continue
        length = axis.entries(units[axis.dim])
        if length == tensor.shape[place]:
            continue
        if axis.outer == 1:
            tensor = tensor.narrow(place, 0, length)
        else:
            shape = tensor.shape
            parts = tensor.unflatten(place, (axis.outer, -1))
            tensor = parts.narrow(place + 1, 0, length // axis.outer).reshape(
                *shape[:place], length, *shape[place + 1:])
    return tensor


class KernelMaps(nn.Module):
    """Small depthwise kernels as learnt maps of the next larger kernel's centre.

    One matrix for each convolution and step down, started at the identity (Cai et al.,
    "Once-for-All", arXiv 1908.09791, section 3.2).

    Args:
        sizes: Path of a convolution → side of its kernel in the model.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self.maps = nn.ParameterDict({
            self._key(conv, large): nn.Parameter(torch.eye((large - 2) ** 2))
            for conv, side in sizes.items() for large in range(side, SMALLEST_KERNEL, -2)})

    def forward(self, conv: str, weight_C1KK: Tensor, side: int) -> Tensor:
        """Returns the kernels (C, 1, side, side) that follow from those of full size."""
        for large, small in pairwise(range(self._sizes[conv], side - 1, -2)):
            centre = weight_C1KK[:, :, 1:-1, 1:-1].reshape(len(weight_C1KK), small * small)
            weight_C1KK = (centre @ self.maps[self._key(conv, large)]).view(-1, 1, small, small)
        return weight_C1KK

    @staticmethod
    def _key(conv: str, large: int) -> str:
        return f"{conv.replace('.', '/')}:{large}to{large - 2}"


def tensors(whole: Mapping[str, Tensor], names: Mapping[str, str], layout: Layout, subnet: Subnet,
            maps: KernelMaps) -> dict[str, Tensor]:
    """Returns a subnet's tensors by its own names.

    Args:
        whole: The model's tensors by name.
        names: Name in the subnet → name in the model.
        layout: Of the model.
        subnet: What is kept.
        maps: Of the model's kernels.
    """
    found = {}
    for name, original in names.items():
        tensor = part(whole[original], layout.axes.get(original), subnet.units)
        conv = original.removesuffix(".weight")
        if original.endswith(".weight") and conv in subnet.kernels:
            tensor = maps(conv, tensor, subnet.kernels[conv])
        found[name] = tensor
    return found
