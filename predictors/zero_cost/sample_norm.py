"""Normalisation of each sample by itself. Legend: N samples, L positions, C channels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Returns what a batch norm in training mode makes of each sample as a batch of one.

    Args:
        x: (N, C, sides…), more than one position each.
        weight: (C,), or None for ones.
        bias: (C,), or None for zeros.
        eps: Added to the (biased) variance.

    The gradient reaches x alone and cannot be differentiated again.
    """
    if is_channels_last(x):
        scale = x.new_ones(x.shape[1]) if weight is None else weight
        shift = x.new_zeros(x.shape[1]) if bias is None else bias
        normed: Tensor = _ChannelsLastNorm.apply(x, scale, shift, eps)
        return normed
    # One group a channel: the numbers of instance_norm, in half the time on a CPU.
    return F.group_norm(x, x.shape[1], weight, bias, eps)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of (N, C, sides…) are next to each other in memory, sides are not."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


class _ChannelsLastNorm(torch.autograd.Function):
    # The library's kernels for one sample are made for contiguous sides and several times slower.

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y = torch.empty_like(x)  # not a view, so that what follows may work in place
        x_NLC, y_NLC = _positions(x), _positions(y)
        centred_NLC = x_NLC - x_NLC.mean(1, keepdim=True)
        variance_N1C = torch.mul(centred_NLC, centred_NLC, out=y_NLC).mean(1, keepdim=True)
        rate_N1C = variance_N1C.add_(eps).rsqrt_()
        torch.addcmul(bias, centred_NLC, rate_N1C * weight, out=y_NLC)
        ctx.save_for_backward(centred_NLC, rate_N1C, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        grad = grads[0]
        centred_NLC, rate_N1C, weight = ctx.saved_tensors
        grad_NLC, found_NLC = _positions(grad), torch.empty_like(centred_NLC)
        scale_N1C = rate_N1C * weight
        mean_N1C = grad_NLC.mean(1, keepdim=True)
        slope_N1C = torch.mul(grad_NLC, centred_NLC, out=found_NLC).mean(1, keepdim=True)
        slope_N1C.mul_(rate_N1C.square())
        # scale · (grad − mean − slope · centred)
        torch.addcmul(mean_N1C.mul_(-scale_N1C), centred_NLC, slope_N1C.mul_(-scale_N1C),
                      out=found_NLC).addcmul_(grad_NLC, scale_N1C)
        found = found_NLC.view(len(grad), *grad.shape[2:], -1).movedim(-1, 1)
        return found, None, None, None


def _positions(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(1, -2)
