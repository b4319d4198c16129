"""Per-sample weight gradients of one Conv or Linear call.

Legend: N samples, L positions (of the output, flattened), O output channels, J numbers of the
weight per output channel (input channels × kernel), C input channels.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_MATRIX_POSITIONS = 64  # up to here copying the windows out beats a convolution, measured on a CPU
_BLOCK = 1 << 18  # numbers of one block of per-sample gradients, so that it stays in the cache
_BLOCK_ROWS = 32  # output channels of a block at least: fewer make slow matrix products


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a convolution walks, one number for each spatial dimension; zeros are padded."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One application of a weight to a batch.

    Attributes:
        x: What it was applied to: (N, C, sides…) of a convolution, (N, …, C) of a Linear layer.
        shape: Of the weight, (O, C / groups, kernel…) or (O, C).
        geometry: Of a convolution; None for a Linear layer.
    """

    x: Tensor
    shape: tuple[int, ...]
    geometry: Geometry | None


def gradients(call: LayerCall, grad: Tensor) -> Tensor:
    """Returns the gradient of every sample's loss by the weight, (N, *shape).

    Args:
        call: The call.
        grad: The gradient of the summed loss by the call's output.
    """
    columns_NLJ = _columns(call, grad)
    if columns_NLJ is None:
        return _direct(call, grad)
    return _as_weight(torch.bmm(_rows(call, grad), columns_NLJ), call)


def sign_sum(call: LayerCall, grad: Tensor) -> Tensor:
    """Returns Σ over samples of sign(`gradients`), (*shape) in float32.

    Only a block of the per-sample gradients exists at any time. Where there is one position, a
    gradient is a product of two numbers and its sign the product of theirs, without underflow.
    """
    columns_NLJ = _columns(call, grad)
    if columns_NLJ is None:
        return _direct_sign_sum(call, grad)
    rows_NOL = _rows(call, grad)
    if rows_NOL.shape[2] == 1:
        signs_NO, signs_NJ = rows_NOL[:, :, 0].sign().float(), columns_NLJ[:, 0].sign().float()
        return _as_weight((signs_NO.T @ signs_NJ)[None], call)[0]
    rows = max(_BLOCK_ROWS, _BLOCK // (len(columns_NLJ) * columns_NLJ.shape[2]))
    blocks = math.ceil(call.shape[0] / rows)
    parts = [torch.bmm(block, columns_NLJ).sign_().sum(0, dtype=torch.float32)
             for block in rows_NOL.chunk(blocks, dim=1)]
    return _as_weight(torch.cat(parts)[None], call)[0]


def _rows(call: LayerCall, grad: Tensor) -> Tensor:
    """The output's gradient as (N, O, L)."""
    if call.geometry is None:
        return grad.reshape(len(grad), -1, call.shape[0]).transpose(1, 2)
    return grad.flatten(2)


def _columns(call: LayerCall, grad: Tensor) -> Tensor | None:
    """What each position reads, (N, L, J), with the kernel before the channels in J.

    None where a convolution gives the gradients faster than a matrix product.
    """
    geometry = call.geometry
    if geometry is None:
        return call.x.reshape(len(call.x), -1, call.shape[1])
    kernel, sides = call.shape[2:], grad.shape[2:]
    if geometry.groups > 1:
        return None
    if math.prod(kernel) == 1 and not any(geometry.padding):
        steps = [slice(None, None, step) for step in geometry.stride]
        return call.x[(slice(None), slice(None), *steps)].flatten(2).transpose(1, 2)
    if math.prod(sides) > _MATRIX_POSITIONS:
        return None
    padded = _padded_channels_last(call.x, geometry)
    first, *strides, last = padded.stride()
    windows = padded.as_strided(
        (len(padded), *sides, *kernel, padded.shape[-1]),
        (first, *(a * b for a, b in zip(strides, geometry.stride, strict=True)),
         *(a * b for a, b in zip(strides, geometry.dilation, strict=True)), last))
    return windows.reshape(len(padded), math.prod(sides), -1)


def _as_weight(gradients_NOJ: Tensor, call: LayerCall) -> Tensor:
    channels, *kernel = call.shape[1:]
    return gradients_NOJ.unflatten(2, (*kernel, channels)).movedim(-1, 2)


def _padded_channels_last(x: Tensor, geometry: Geometry) -> Tensor:
    sides = [side for pad in reversed(geometry.padding) for side in (pad, pad)]
    return F.pad(x.movedim(1, -1), (0, 0, *sides)).contiguous()


def _direct(call: LayerCall, grad: Tensor) -> Tensor:
    """(N, *shape), with one group of channels for each sample."""
    assert call.geometry is not None
    kernel, groups = call.shape[2:], call.geometry.groups
    if groups == call.shape[0] == call.x.shape[1] and _is_slow_depthwise(kernel, call.x):
        return _depthwise(call.x, grad, kernel, call.geometry)
    samples = len(grad)
    weight = grad.new_empty(samples * call.shape[0], *call.shape[1:])  # only its shape is read
    _, found, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]), call.x.reshape(1, -1, *call.x.shape[2:]), weight,
        None, call.geometry.stride, call.geometry.padding, call.geometry.dilation, False,
        [0] * len(kernel), samples * groups, (False, True, False))
    return found.view(samples, *call.shape)


def _is_slow_depthwise(kernel: tuple[int, ...], x: Tensor) -> bool:
    # oneDNN has fast depthwise weight gradients for small kernels that fit into the image only.
    return max(kernel) > 3 or any(k > side for k, side in zip(kernel, x.shape[2:], strict=True))


def _depthwise(x: Tensor, grad: Tensor, kernel: tuple[int, ...], geometry: Geometry) -> Tensor:
    """(N, C, 1, kernel…): for each offset in the kernel a product, summed over positions."""
    padded, last = _padded_channels_last(x, geometry), grad.movedim(1, -1).contiguous()
    sides = last.shape[1:-1]
    positions = tuple(range(1, last.dim() - 1))
    found = last.new_empty(math.prod(kernel), len(x), last.shape[-1])
    for place, offsets in enumerate(itertools.product(*map(range, kernel))):
        window = tuple(
            slice(offset * dilation, offset * dilation + stride * (side - 1) + 1, stride)
            for offset, dilation, stride, side
            in zip(offsets, geometry.dilation, geometry.stride, sides, strict=True))
        torch.sum(padded[(slice(None), *window)] * last, positions, out=found[place])
    return found.permute(1, 2, 0).reshape(len(x), -1, 1, *kernel)


def _direct_sign_sum(call: LayerCall, grad: Tensor) -> Tensor:
    blocks = min(len(grad), math.ceil(len(grad) * math.prod(call.shape) / _BLOCK))
    return torch.stack([
        _direct(LayerCall(x, call.shape, call.geometry), part).sign_().sum(0, dtype=torch.float32)
        for x, part in zip(call.x.chunk(blocks), grad.chunk(blocks), strict=True)]).sum(0)
