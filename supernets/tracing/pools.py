"""Pools over images and other sizes of them, as nodes of a block graph.

Every function takes the recorder and then what the torch function of that name takes.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from nas.core.blocks import Attribute
from nas.core.errors import SpaceError
from supernets.tracing.layers import Sizes, per_axis, side
from supernets.tracing.recorder import Handler, Recorder


def adaptive_avg_pool2d(recorder: Recorder, x: Tensor, output_size: Any) -> Tensor:
    """The mean over the image, or over equal parts of it."""
    result = F.adaptive_avg_pool2d(x, output_size)
    sides, parts = tuple(x.shape[-2:]), tuple(result.shape[-2:])
    if parts == (1, 1):
        return recorder.emit("global_avg_pool", (x,), result)
    if parts == sides:
        return x
    kernel = sides[0] // parts[0]
    if any(length != part * kernel for length, part in zip(sides, parts, strict=True)):
        raise SpaceError(f"adaptive_avg_pool2d from {sides} to {parts} has no block graph form")
    return recorder.emit("avg_pool", (x,), result, kernel=kernel, stride=kernel)


def max_pool2d(recorder: Recorder, x: Tensor, kernel_size: Sizes, stride: Sizes | None = None,
               padding: Sizes = 0, dilation: Sizes = 1, ceil_mode: bool = False,
               return_indices: bool = False) -> Tensor:
    """The maximum in each window."""
    if return_indices or side("max_pool2d", "dilation", dilation, 2) != 1:
        raise SpaceError("max_pool2d with indices or dilation has no block graph form")
    result = F.max_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    return _pool(recorder, "max_pool", x, result, kernel_size, stride, padding, ceil_mode, ())


def avg_pool2d(recorder: Recorder, x: Tensor, kernel_size: Sizes, stride: Sizes | None = None,
               padding: Sizes = 0, ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:
    """The mean of each window."""
    if divisor_override is not None:
        raise SpaceError("avg_pool2d with a divisor of its own has no block graph form")
    result = F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    counted = count_include_pad and any(per_axis(padding, 2))
    return _pool(recorder, "avg_pool", x, result, kernel_size, stride, padding, ceil_mode,
                 (("count_padding", 1),) if counted else ())


def interpolate(recorder: Recorder, x: Tensor, size: Any = None, scale_factor: Any = None,
                mode: str = "nearest", align_corners: bool | None = None,
                recompute_scale_factor: bool | None = None, antialias: bool = False) -> Tensor:
    """The image in another size."""
    del recompute_scale_factor
    if mode not in ("bilinear", "nearest") or align_corners or antialias or x.ndim != 4:
        raise SpaceError(f"interpolate by {mode} has no block graph form; only bilinear and "
                         "nearest have, of images, without antialias or aligned corners")
    result = F.interpolate(x, size, scale_factor, mode=mode)
    attributes: list[tuple[str, Attribute]] = [("sides", tuple(result.shape[2:]))]
    if mode == "nearest":
        attributes.append(("nearest", 1))
    return recorder.emit("resize", (x,), result, attributes=attributes)


def _pool(recorder: Recorder, kind: str, x: Tensor, result: Tensor, kernel_size: Sizes,
          stride: Sizes | None, padding: Sizes, ceil_mode: bool,
          attributes: Sequence[tuple[str, Attribute]]) -> Tensor:
    kernel = side(kind, "kernel", kernel_size, 2)
    pads = per_axis(padding, 2)
    found: list[tuple[str, Attribute]] = [("padding", pads)] if any(pads) else []
    if ceil_mode:
        found.append(("ceil", 1))
    step = kernel if stride is None else side(kind, "stride", stride, 2)
    return recorder.emit(kind, (x,), result, kernel=kernel, stride=step,
                         attributes=(*found, *attributes))


POOLS: dict[str, Handler] = {
    "adaptive_avg_pool2d": adaptive_avg_pool2d, "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d, "interpolate": interpolate,
}
