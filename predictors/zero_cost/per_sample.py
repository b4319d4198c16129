"""Per-sample weight gradients of one Conv or Linear call.

Legend: N samples, L positions (of the output, flattened), O output channels, J numbers of the
weight per output channel (input channels × kernel), C input channels.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from predictors.zero_cost.sample_norm import is_channels_last

# Measured on a CPU with 2 MB of second-level cache.
_WINDOWS_POSITIONS = 64  # up to here copying windows out beats a convolution
_BLOCK = 1 << 19  # numbers of per-sample gradients at a time, so that they stay in the cache
_SAMPLES = 16  # of a block
_LEAST_ROWS = 8  # output channels of a block: fewer make slow matrix products


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
    form = _form(call, grad)
    if form == "direct":
        return _direct(call, grad)
    return _as_weight(torch.bmm(_rows(call, grad), _columns(call, grad, form)), call)


def sign_sum(call: LayerCall, grad: Tensor) -> Tensor:
    """Returns Σ over samples of sign(`gradients`), (*shape) in float32.

    Only a block of the per-sample gradients exists at any time. Where there is one position, a
    gradient is a product of two numbers and its sign the product of theirs, without underflow.
    """
    form = _form(call, grad)
    samples = _SAMPLES
    if form == "direct":
        samples = max(1, min(samples, _BLOCK // math.prod(call.shape)))
    total = None
    for x, part in zip(torch.split(call.x, samples), torch.split(grad, samples), strict=True):
        block = LayerCall(x, call.shape, call.geometry)
        signs = _direct(block, part).sign_().sum(0, dtype=torch.float32) if form == "direct" \
            else _matrix_sign_sum(_rows(block, part), _columns(block, part, form))
        total = signs if total is None else total.add_(signs)
    assert total is not None
    return total if form == "direct" else _as_weight(total[None], call)[0]


def _matrix_sign_sum(rows_NOL: Tensor, columns_NLJ: Tensor) -> Tensor:
    """Σ over N of sign(rows @ columns), (O, J)."""
    samples, outputs, positions = rows_NOL.shape
    if positions == 1:
        return rows_NOL[:, :, 0].sign().float().T @ columns_NLJ[:, 0].sign().float()
    largest = max(_LEAST_ROWS, _BLOCK // (samples * columns_NLJ.shape[2]))
    parts = [torch.bmm(rows, columns_NLJ).sign_().sum(0, dtype=torch.float32)
             for rows in rows_NOL.chunk(math.ceil(outputs / largest), dim=1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _form(call: LayerCall, grad: Tensor) -> Literal["views", "windows", "direct"]:
    """How the gradients are computed fastest on a CPU.

    As a matrix product of the output's gradient with the input itself or with its windows, copied
    out, or directly by a convolution.
    """
    geometry = call.geometry
    if geometry is None:
        return "views"
    if geometry.groups > 1:
        return "direct"
    if math.prod(call.shape[2:]) == 1 and not any(geometry.padding):
        return "views"
    return "windows" if math.prod(grad.shape[2:]) <= _WINDOWS_POSITIONS else "direct"


def _rows(call: LayerCall, grad: Tensor) -> Tensor:
    """The output's gradient as (N, O, L)."""
    if call.geometry is None:
        return grad.reshape(len(grad), -1, call.shape[0]).transpose(1, 2)
    return _positions(grad).transpose(1, 2)


def _columns(call: LayerCall, grad: Tensor, form: Literal["views", "windows"]) -> Tensor:
    """What each position reads, (N, L, J), with the kernel before the channels in J."""
    geometry = call.geometry
    if geometry is None:
        return call.x.reshape(len(call.x), -1, call.shape[1])
    if form == "views":
        steps = [slice(None, None, step) for step in geometry.stride]
        return _positions(call.x[(slice(None), slice(None), *steps)])
    kernel, sides = call.shape[2:], grad.shape[2:]
    padded = _padded_channels_last(call.x, geometry)
    first, *strides, last = padded.stride()
    windows = padded.as_strided(
        (len(padded), *sides, *kernel, padded.shape[-1]),
        (first, *(a * b for a, b in zip(strides, geometry.stride, strict=True)),
         *(a * b for a, b in zip(strides, geometry.dilation, strict=True)), last))
    return windows.reshape(len(padded), math.prod(sides), -1)


def _positions(x: Tensor) -> Tensor:
    """(N, C, sides…) → (N, L, C), a view of either memory format."""
    if is_channels_last(x):
        return x.movedim(1, -1).flatten(1, -2)
    return x.flatten(2).transpose(1, 2)


def _as_weight(gradients_NOJ: Tensor, call: LayerCall) -> Tensor:
    channels, *kernel = call.shape[1:]
    return gradients_NOJ.reshape(*gradients_NOJ.shape[:2], *kernel, channels).movedim(-1, 2)


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
    found: Tensor = torch.ops.aten.convolution_backward(
        _samples_as_channels(grad), _samples_as_channels(call.x), weight, None,
        call.geometry.stride, call.geometry.padding, call.geometry.dilation, False,
        [0] * len(kernel), samples * groups, (False, True, False))[1]
    return found.view(samples, *call.shape)


def _samples_as_channels(x: Tensor) -> Tensor:
    """(N, C, sides…) → (1, N · C, sides…) in the same memory format."""
    if is_channels_last(x):
        return x.movedim((0, 1), (-2, -1)).flatten(-2)[None].movedim(-1, 1)
    return x.reshape(1, -1, *x.shape[2:])


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
