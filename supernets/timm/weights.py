"""The tensors of a subnet as parts of the whole model's, and kernels through their learnt maps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supernets.timm.blocks import SMALLEST_KERNEL, Kernel
from supernets.timm.elastic import Subnet
from supernets.timm.layout import Axis, Layout


def part(tensor: Tensor, axes: tuple[Axis | None, ...] | None, units: Mapping[str, int]) -> Tensor:
    """Returns the leading units of a tensor along its elastic axes; a view where that can be."""
    if axes is None:
        return tensor
    lengths = [size if axis is None else axis.entries(units[axis.dim])
               for size, axis in zip(tensor.shape, axes, strict=True)]
    for place, axis in enumerate(axes):
        if axis is not None and axis.outer > 1 and lengths[place] < tensor.shape[place]:
            shape = tensor.shape
            parts = tensor.reshape(*shape[:place], axis.outer, -1, *shape[place + 1:])
            tensor = parts.narrow(place + 1, 0, lengths[place] // axis.outer).reshape(
                *shape[:place], lengths[place], *shape[place + 1:])
    if list(tensor.shape) == lengths:
        return tensor
    leading: Tensor = _Leading.apply(tensor, lengths)
    return leading


class _Leading(torch.autograd.Function):
    """The leading entries along all axes at once: slicing axis by axis costs a gradient each."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, lengths: Sequence[int]) -> Tensor:
        ctx.shape, ctx.lengths = tensor.shape, lengths
        return tensor[tuple(map(slice, lengths))]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        whole = gradient.new_zeros(ctx.shape)
        whole[tuple(map(slice, ctx.lengths))] = gradient
        return whole, None


class KernelMaps(nn.Module):
    """Small depthwise kernels as learnt maps of the next larger kernel.

    One matrix for each convolution and step down (Cai et al., "Once-for-All", arXiv 1908.09791,
    section 3.2). Unlike there it maps the whole kernel, not its centre alone, and it starts by
    adding the rim to the nearest taps: that keeps the sum, where a pretrained network whose kernels
    lose their rims is destroyed.

    Args:
        kernels: The convolutions.
    """

    def __init__(self, kernels: Iterable[Kernel]) -> None:
        super().__init__()
        self._sides = {kernel.path: kernel.side for kernel in kernels}
        self.maps = nn.ParameterDict({
            _key(path, large): nn.Parameter(_folding(large))
            for path, side in self._sides.items() for large in range(side, SMALLEST_KERNEL, -2)})

    def forward(self, conv: str, weight_C1KK: Tensor, side: int) -> Tensor:
        """Returns the kernels (C, 1, side, side) that follow from those of full size."""
        kernels = weight_C1KK.flatten(1)
        for large in range(self._sides[conv], side, -2):
            kernels = kernels @ self.maps[_key(conv, large)]
        return kernels.view(-1, 1, side, side)


def _key(conv: str, large: int) -> str:
    return f"{conv.replace('.', '/')}:{large}to{large - 2}"  # a module's names have no dots


def _folding(large: int) -> Tensor:
    # (large², small²): each tap goes to the nearest one of the smaller kernel.
    small = large - 2
    nearest = torch.arange(-1, large - 1).clamp(0, small - 1)
    places = (nearest[:, None] * small + nearest).flatten()
    return nn.functional.one_hot(places, small * small).float()


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
