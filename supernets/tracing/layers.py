"""Operators with weights, and activations, as nodes of a block graph.

Every function takes the recorder and then what the torch function of that name takes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nas.core.blocks import Attribute
from nas.core.errors import SpaceError
from supernets.tracing.batch import BATCH, like
from supernets.tracing.recorder import Handler, Recorder

Sizes = int | tuple[int, ...]


def conv2d(recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None = None,
           stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
           groups: int = 1) -> Tensor:
    """A convolution over an image, with a square kernel."""
    return _convolution(recorder, "conv2d", x, weight, bias, stride, padding, dilation, groups)


def conv1d(recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None = None,
           stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
           groups: int = 1) -> Tensor:
    """A convolution over a sequence."""
    return _convolution(recorder, "conv1d", x, weight, bias, stride, padding, dilation, groups)


def _convolution(recorder: Recorder, kind: str, x: Tensor, weight: Tensor, bias: Tensor | None,
                 stride: Sizes, padding: Sizes | str, dilation: Sizes, groups: int) -> Tensor:
    _require_channels(kind, x)
    _require(kind, weight.shape[1] * groups, x.shape[1])
    _require(kind, weight.shape[0], bias)
    axes = weight.dim() - 2
    kernel = side(kind, "kernel", tuple(weight.shape[2:]), axes)
    step, spread = side(kind, "stride", stride, axes), side(kind, "dilation", dilation, axes)
    reach = spread * (kernel - 1) + 1
    if isinstance(padding, str):
        if padding == "same" and reach % 2 == 0:
            raise SpaceError(f"{kind} padded on one side only has no block graph form")
        padding = reach // 2 if padding == "same" else 0
    pads = per_axis(padding, axes)
    sides = [(length + 2 * pad - reach) // step + 1
             for length, pad in zip(x.shape[2:], pads, strict=True)]
    if min(sides) < 1:
        raise SpaceError(f"{kind} with kernel {kernel} on sides {tuple(x.shape[2:])} leaves "
                         "nothing; use larger images")
    attributes: list[tuple[str, Attribute]] = []
    if pads != (kernel // 2,) * axes:
        attributes.append(("padding", pads))
    if spread != 1:
        attributes.append(("dilation", spread))
    result = torch.empty((BATCH, weight.shape[0], *sides), device="meta")
    return recorder.emit(kind, (x,), result, kernel=kernel, stride=step, groups=groups,
                         bias=bias is not None, attributes=attributes, learnt=(weight, bias))


def linear(recorder: Recorder, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A dense layer on the last axis."""
    _require_features("linear", x)
    _require("linear", weight.shape[1], x.shape[-1])
    _require("linear", weight.shape[0], bias)
    result = torch.empty((*x.shape[:-1], weight.shape[0]), device="meta")
    return recorder.emit("linear", (x,), result, bias=bias is not None, learnt=(weight, bias))


def batch_norm(recorder: Recorder, x: Tensor, running_mean: Tensor | None,
               running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False,
               **_: float) -> Tensor:
    """Batch norm by its running statistics."""
    if training or running_mean is None or running_var is None:
        raise SpaceError("batch_norm by the statistics of the batch has no block graph form; "
                         "trace in evaluation mode")
    _require_channels("batch_norm", x)
    _require("batch_norm", x.shape[1], running_mean, running_var, weight, bias)
    return recorder.emit("batch_norm", (x,), like(x), learnt=(weight, bias))


def layer_norm(recorder: Recorder, x: Tensor, normalized_shape: Sequence[int],
               weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Layer norm over the last axis; `eps` changes no cost and is not kept."""
    del eps
    if len(normalized_shape) != 1:
        raise SpaceError(f"layer_norm over {len(normalized_shape)} axes has no block graph form")
    _require_features("layer_norm", x)
    _require("layer_norm", x.shape[-1], normalized_shape[0], weight, bias)
    return recorder.emit("layer_norm", (x,), like(x), bias=bias is not None,
                         learnt=(weight, bias))


def rms_norm(recorder: Recorder, x: Tensor, normalized_shape: Sequence[int],
             weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Layer norm without a mean; `eps` changes no cost and is not kept."""
    del eps
    if len(normalized_shape) != 1:
        raise SpaceError(f"rms_norm over {len(normalized_shape)} axes has no block graph form")
    _require_features("rms_norm", x)
    _require("rms_norm", x.shape[-1], normalized_shape[0], weight)
    return recorder.emit("rms_norm", (x,), like(x), learnt=(weight,))


def group_norm(recorder: Recorder, x: Tensor, num_groups: int, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Norm over groups of channels and the image; `eps` changes no cost and is not kept."""
    del eps
    _require_channels("group_norm", x)
    _require("group_norm", x.shape[1], weight, bias)
    return recorder.emit("group_norm", (x,), like(x), groups=num_groups, learnt=(weight, bias))


def hardtanh(recorder: Recorder, x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Between 0 and 6 alone, which is how torch spells relu6."""
    if (min_val, max_val) != (0, 6):
        raise SpaceError(f"hardtanh between {min_val} and {max_val} has no block graph form")
    return recorder.emit("relu6", (x,), like(x))


def gelu(recorder: Recorder, x: Tensor, approximate: str = "none") -> Tensor:
    """GELU, exact or by tanh."""
    return recorder.emit("gelu" if approximate == "none" else "gelu_tanh", (x,), like(x))


def leaky_relu(recorder: Recorder, x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Leaky ReLU."""
    return recorder.emit("leaky_relu", (x,), like(x), attributes=(("slope", negative_slope),))


def softmax(recorder: Recorder, x: Tensor, dim: int, **_: Any) -> Tensor:
    """Softmax over one axis."""
    return recorder.emit("softmax", (x,), like(x), attributes=(("axis", dim % x.dim()),))


def dropout(recorder: Recorder, x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Nothing in evaluation mode."""
    del recorder
    if training and p:
        raise SpaceError("dropout that is on has no block graph form; trace in evaluation mode")
    return x


def _activation(kind: str) -> Handler:
    return lambda recorder, x: recorder.emit(kind, (x,), like(x))


def _require_channels(kind: str, x: Tensor) -> None:
    if x.shape[0] != BATCH:
        raise SpaceError(f"{kind} whose first axis is not the batch has no block graph form")


def _require_features(kind: str, x: Tensor) -> None:
    if x.shape[-1] % BATCH == 0:
        raise SpaceError(f"{kind} over the batch has no block graph form")


def _require(kind: str, size: int, *others: int | Tensor | None) -> None:
    # Shapes are computed here and not by torch: what torch would refuse must be refused.
    for other in others:
        found = other.shape[0] if isinstance(other, Tensor) else other
        if found not in (None, size):
            raise SpaceError(f"{kind}: sizes {size} and {found} do not fit")


def per_axis(value: Sizes, axes: int) -> tuple[int, ...]:
    """Returns a size for each spatial axis."""
    sizes = (value,) if isinstance(value, int) else tuple(value)  # torch takes lists, too
    return sizes * axes if len(sizes) == 1 else sizes


def side(kind: str, what: str, value: Sizes, axes: int) -> int:
    """Returns the one size that all spatial axes have.

    Raises:
        SpaceError: They differ.
    """
    sizes = set(per_axis(value, axes))
    if len(sizes) != 1:
        raise SpaceError(f"{kind} with the {what} {tuple(per_axis(value, axes))} has no block "
                         "graph form: both sides must be equal")
    return sizes.pop()


LAYERS: dict[str, Handler] = {
    "conv1d": conv1d, "conv2d": conv2d, "linear": linear, "batch_norm": batch_norm,
    "layer_norm": layer_norm, "rms_norm": rms_norm, "group_norm": group_norm,
    "hardtanh": hardtanh, "gelu": gelu, "leaky_relu": leaky_relu, "softmax": softmax,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d"), dropout),
    "relu": _activation("relu"), "relu6": _activation("relu6"), "silu": _activation("silu"),
    "hardswish": _activation("hard_swish"), "sigmoid": _activation("sigmoid"),
    "hardsigmoid": _activation("hard_sigmoid"), "tanh": _activation("tanh"),
}
