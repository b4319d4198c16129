"""What moves numbers and computes none: reshapes, slices, concatenation, padding.

Every function takes the recorder and then what the torch function of that name takes.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nas.core.errors import SpaceError
from supernets.tracing.batch import BATCH, full_shape, one_image
from supernets.tracing.recorder import Handler, Recorder


def reshape(recorder: Recorder, x: Tensor, *shape: Any) -> Tensor:
    """Another shape; nothing where it is the same."""
    return _reshaped(recorder, x, x.reshape(*shape))


def flatten(recorder: Recorder, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Some axes into one."""
    result = x.flatten(start_dim, end_dim)
    if x.shape[0] == BATCH and result.shape[0] == BATCH and result.dim() == 2 < x.dim():
        return recorder.emit("flatten", (x,), result)
    return _reshaped(recorder, x, result)


def squeeze(recorder: Recorder, x: Tensor, *dim: Any) -> Tensor:
    """Axes of size 1 go."""
    return _reshaped(recorder, x, x.squeeze(*dim))


def unsqueeze(recorder: Recorder, x: Tensor, dim: int) -> Tensor:
    """A new axis of size 1."""
    return _reshaped(recorder, x, x.unsqueeze(dim))


def unflatten(recorder: Recorder, x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One axis into several."""
    return _reshaped(recorder, x, torch.unflatten(x, dim, tuple(sizes)))


def permute(recorder: Recorder, x: Tensor, *dims: Any) -> Tensor:
    """The axes in another order."""
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    axes = tuple(axis % x.dim() for axis in order)
    if axes == tuple(range(x.dim())):
        return x
    return recorder.emit("permute", (x,), x.permute(axes), attributes=(("axes", axes),))


def transpose(recorder: Recorder, x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes change places."""
    axes = list(range(x.dim()))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return permute(recorder, x, axes)


def expand(recorder: Recorder, x: Tensor, *sizes: Any) -> Tensor:
    """Repeated along axes of size 1, which broadcasting operators do by themselves."""
    return recorder.alias(x, x.expand(*sizes))


def expand_as(recorder: Recorder, x: Tensor, other: Tensor) -> Tensor:
    """As `expand`, to the shape of another tensor."""
    return recorder.alias(x, x.expand(other.shape))


def getitem(recorder: Recorder, x: Tensor, index: Any) -> Tensor:
    """Integers, slices, None and Ellipsis as indices."""
    items = list(index) if isinstance(index, tuple) else [index]
    taken = sum(isinstance(item, int | slice) for item in items)
    rest = [slice(None)] * (x.dim() - taken)
    items = [part for item in items for part in (rest if item is Ellipsis else [item])]
    axis = 0
    for item in items:
        if item is None:
            x = unsqueeze(recorder, x, axis)
            axis += 1
        elif isinstance(item, int):
            x = select(recorder, x, axis, item)
        elif isinstance(item, slice) and item.step in (None, 1):
            start, stop, _ = item.indices(x.shape[axis])
            x = narrow(recorder, x, axis, start, stop - start)
            axis += 1
        else:
            raise SpaceError(f"index {item!r} has no block graph form")
    return x


def select(recorder: Recorder, x: Tensor, dim: int, index: int) -> Tensor:
    """One position of an axis, which goes."""
    axis = dim % x.dim()
    attributes = (("axis", axis), ("index", index % x.shape[axis]))
    return recorder.emit("select", (x,), x.select(axis, index), attributes=attributes)


def narrow(recorder: Recorder, x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Some positions of an axis; nothing where that is all of them."""
    axis = dim % x.dim()
    if length == x.shape[axis]:
        return x
    attributes = (("axis", axis), ("start", start), ("stop", start + length))
    return recorder.emit("slice", (x,), x.narrow(axis, start, length), attributes=attributes)


def unbind(recorder: Recorder, x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every position of an axis by itself."""
    return tuple(select(recorder, x, dim, index) for index in range(x.shape[dim]))


def split(recorder: Recorder, x: Tensor, split_size_or_sections: int | Sequence[int],
          dim: int = 0) -> tuple[Tensor, ...]:
    """An axis in pieces of these sizes, or of one size and what is left."""
    sizes = split_size_or_sections
    if isinstance(sizes, int):
        whole, left = divmod(x.shape[dim], sizes)
        sizes = [sizes] * whole + [left] * (left > 0)
    return _pieces(recorder, x, sizes, dim)


def chunk(recorder: Recorder, x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """An axis in so many pieces."""
    return _pieces(recorder, x, [piece.shape[dim] for piece in x.chunk(chunks, dim)], dim)


def cat(recorder: Recorder, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other; constants among them must come first."""
    axis = dim % tensors[0].dim()
    traced = [tensor for tensor in tensors if recorder.is_traced(tensor)]
    constants = tensors[:len(tensors) - len(traced)]
    if any(recorder.is_traced(tensor) for tensor in constants):
        raise SpaceError("cat with a constant that is not in front has no block graph form")
    result = traced[0]
    if len(traced) > 1:
        result = recorder.emit("concat", traced, torch.cat(traced, axis),
                               attributes=(("axis", axis),))
    if not constants:
        return result
    constant = torch.cat(list(constants), axis)
    one_image(constant)
    attributes = (("axis", axis), ("shape", full_shape(constant)))
    return recorder.emit("prepend", (result,), torch.cat((constant, result), axis),
                         attributes=attributes, learnt=constants)


def pad(recorder: Recorder, x: Tensor, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """More numbers around the last axes: the same one, or the image mirrored."""
    if mode not in ("constant", "reflect"):
        raise SpaceError(f"pad in mode {mode!r} has no block graph form")
    if not any(pad):
        return x
    before, behind = [0] * x.dim(), [0] * x.dim()
    for position in range(len(pad) // 2):  # torch counts axes from the last
        before[-1 - position], behind[-1 - position] = pad[2 * position], pad[2 * position + 1]
    how = ("reflect", 1) if mode == "reflect" else ("value", float(value or 0.0))
    sides = [sum(sizes) for sizes in zip(before, x.shape, behind, strict=True)]
    return recorder.emit("pad", (x,), torch.empty(sides, device="meta"),
                         attributes=(("padding", (*before, *behind)), how))


def _reshaped(recorder: Recorder, x: Tensor, result: Tensor) -> Tensor:
    if result.shape == x.shape:
        return x
    return recorder.emit("reshape", (x,), result, attributes=(("shape", full_shape(result)),))


def _pieces(recorder: Recorder, x: Tensor, sizes: Sequence[int], dim: int) -> tuple[Tensor, ...]:
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(narrow(recorder, x, dim, start, size)
                 for start, size in zip(starts, sizes, strict=False))


def _same(recorder: Recorder, x: Tensor, *_: Any, **__: Any) -> Tensor:
    # Where numbers lie and of which type they are is no matter of the graph.
    del recorder
    return x


MOVEMENT: dict[str, Handler] = {
    "reshape": reshape, "view": reshape, "flatten": flatten, "squeeze": squeeze,
    "unsqueeze": unsqueeze, "unflatten": unflatten, "permute": permute, "transpose": transpose,
    "swapaxes": transpose, "swapdims": transpose, "expand": expand, "expand_as": expand_as,
    "getitem": getitem, "select": select, "narrow": narrow, "unbind": unbind, "split": split,
    "split_with_sizes": split, "chunk": chunk, "cat": cat, "concat": cat, "pad": pad,
    **dict.fromkeys(("contiguous", "detach", "clone", "to", "float", "type_as"), _same),
}
