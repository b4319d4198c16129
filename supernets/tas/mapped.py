"""Maps of channels: each pixel times one small matrix, with cheap gradients.

Batch norm, scale, interpolation and weighted sum of several widths are one of them.

Legend: B batch, C channels, H and W sides, N widths that are drawn, L layers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from supernets.tas.interpolation import ends


def channel_maps(affine_LN2C: Tensor, weights_LN: Tensor, widths: Sequence[tuple[int, ...]]
                 ) -> tuple[Tensor, Tensor]:
    """Returns what is done to normalised channels by layers that are equally wide.

    The weighted sum of their scales and shifts, of leading channels, interpolated to the widest.
    Both are 0 beyond it.

    Args:
        affine_LN2C: Scale and shift of each width; what is beyond the width is not read.
        weights_LN: Of the sum.
        widths: Of each layer, the N leading channels.

    Returns:
        The maps, (L, C, C), of which a row is an output, and the shifts, (L, C).
    """
    channels, device = affine_LN2C.shape[-1], affine_LN2C.device
    spread_LNCC = torch.stack([_spread_NCC(each, channels, device) for each in widths]
                              ).to(affine_LN2C.dtype)
    weighted_LN2C = affine_LN2C * weights_LN[:, :, None, None]
    maps_LCC = (spread_LNCC * weighted_LN2C[:, :, :1]).sum(1)
    shifts_LC = (spread_LNCC @ weighted_LN2C[:, :, 1, :, None]).sum((1, 3))
    return maps_LCC, shifts_LC


def mapped_norm(x_BCHW: Tensor, map_CC: Tensor, shift_C: Tensor, eps: float) -> Tensor:
    """Returns the batch norm of feature maps, its channels mapped, and shifts added.

    The statistics are the batch's. Neither it nor its gradients make normalised channels.

    Args:
        x_BCHW: Feature maps.
        map_CC: Of the normalised channels; a row is an output.
        shift_C: Of the outputs.
        eps: Of the batch norm.
    """
    mapped: Tensor = _MappedNorm.apply(x_BCHW, map_CC, shift_C, eps)
    return mapped


def mapped_sum(inputs_BCHW: Sequence[Tensor], maps_CC: Sequence[Tensor]) -> Tensor:
    """Returns the sum of feature maps, the channels of each mapped, (B, C, H, W).

    Args:
        inputs_BCHW: Feature maps.
        maps_CC: Of each one's channels; a row is an output.
    """
    found: Tensor = _MappedSum.apply(*inputs_BCHW, *maps_CC)
    return found


def scaled(x_BCHW: Tensor, scale_C: Tensor) -> Tensor:
    """Returns feature maps with scaled channels, (B, C, H, W)."""
    x_BHWC = x_BCHW.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    return (x_BHWC.flatten(1) * _of_pixels(scale_C, x_BCHW)).view(x_BHWC.shape).permute(0, 3, 1, 2)


def spread_CC(width: int, larger: int, channels: int, device: torch.device) -> Tensor:
    """Returns the interpolation of one width to a larger one as a matrix of all channels."""
    matrix = torch.zeros(channels, channels)
    row = torch.arange(larger)
    for column in ends(width, larger):
        matrix[row, column] += 0.5
    return matrix.to(device)


@lru_cache(maxsize=256)
def _spread_NCC(widths: tuple[int, ...], channels: int, device: torch.device) -> Tensor:
    return torch.stack([spread_CC(width, max(widths), channels, device) for width in widths])


class _MappedNorm(torch.autograd.Function):
    """See `mapped_norm`."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, map_CC: Tensor, shift_C: Tensor, eps: float) -> Tensor:
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        mean_C, variance_C = torch.batch_norm_update_stats(x_BCHW, None, None, 0.0)
        inverse_C = (variance_C + eps).rsqrt()
        whole_CC = map_CC * inverse_C
        ctx.save_for_backward(x_BCHW, map_CC, whole_CC, mean_C, inverse_C)
        return F.conv2d(x_BCHW, whole_CC[:, :, None, None],
                        torch.addmv(shift_C, whole_CC, mean_C, alpha=-1.0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor | None, ...]:
        x_BCHW, map_CC, whole_CC, mean_C, inverse_C = ctx.saved_tensors
        grad_BCHW = grad_BCHW.contiguous(memory_format=torch.channels_last)
        given, flat = _flat(x_BCHW), _flat(grad_BCHW)
        sums_C = flat.sum(0)
        map_grad_CC = torch.addr(flat.T @ given, sums_C, mean_C, alpha=-1.0) * inverse_C
        if not ctx.needs_input_grad[0]:
            return None, map_grad_CC, sums_C, None
        # Of a batch norm: less the mean, and less what is along the normalised channel.
        along_C = (map_grad_CC * map_CC).sum(0) * inverse_C.square() / len(flat)
        shift_C = along_C * mean_C - (sums_C @ whole_CC) / len(flat)
        x_grad = F.conv2d(grad_BCHW, whole_CC.T[:, :, None, None], shift_C)
        pixels = _of_pixels(along_C, x_BCHW)
        x_grad.permute(0, 2, 3, 1).flatten(1).addcmul_(given.view(len(x_grad), -1), pixels,
                                                       value=-1.0)
        return x_grad, map_grad_CC, sums_C, None


class _MappedSum(torch.autograd.Function):
    """See `mapped_sum`."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        count = len(given) // 2
        inputs = [x.contiguous(memory_format=torch.channels_last) for x in given[:count]]
        ctx.save_for_backward(*inputs, *given[count:])
        first, *others = (F.conv2d(x, matrix[:, :, None, None])
                          for x, matrix in zip(inputs, given[count:], strict=True))
        for other in others:
            first += other
        return first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        inputs, maps = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        grad_BCHW = grad_BCHW.contiguous(memory_format=torch.channels_last)
        flat = _flat(grad_BCHW).T
        need = ctx.needs_input_grad
        return (*(F.conv2d(grad_BCHW, matrix.T[:, :, None, None]) if needed else None
                  for matrix, needed in zip(maps, need, strict=False)),
                *(flat @ _flat(x) if needed else None
                  for x, needed in zip(inputs, need[count:], strict=True)))


def _of_pixels(scale_C: Tensor, x_BCHW: Tensor) -> Tensor:
    # For all pixels of an image: with as few channels as there are, loops over them are slow.
    return scale_C.repeat(x_BCHW.shape[2] * x_BCHW.shape[3])


def _flat(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.permute(0, 2, 3, 1).reshape(-1, x_BCHW.shape[1])
