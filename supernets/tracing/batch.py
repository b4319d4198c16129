"""Shapes with and without the batch, a large prime by which its axis is known anywhere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.core.blocks import Shape
from nas.core.errors import SpaceError

BATCH = 1_000_003


def full_shape(tensor: Tensor) -> tuple[int, ...]:
    """Returns the shape of a whole tensor with −1 for the axis that holds the batch."""
    return tuple(-1 if size % BATCH == 0 else size for size in tensor.shape)


def one_image(constant: Tensor) -> Shape:
    """Returns the shape of a constant; one that is repeated along the batch counts once.

    Raises:
        SpaceError: Its batch axis holds more than the batch.
    """
    if any(size % BATCH == 0 and size != BATCH for size in constant.shape):
        raise SpaceError("a constant that was repeated and reshaped has no block graph form")
    return tuple(1 if size == BATCH else size for size in constant.shape)


def without_batch(shape: Sequence[int]) -> Shape:
    """Returns a shape without the batch; of an axis that it was merged into, the rest stays.

    Raises:
        SpaceError: Not exactly one axis holds the batch.
    """
    held = [size for size in shape if size % BATCH == 0]
    if len(held) != 1 or held[0] == 0:
        raise SpaceError("an operator mixes the images of a batch")
    return tuple(size // BATCH if size % BATCH == 0 else size for size in shape if size != BATCH)


def like(x: Tensor) -> Tensor:
    """Returns a new meta tensor of the same shape."""
    return torch.empty(x.shape, device="meta")


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape that operators of two tensors give.

    Raises:
        RuntimeError: The shapes do not fit.
    """
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def leading_batch(tensor: Tensor) -> Shape:
    """Returns the shape of a tensor whose first axis is the batch, without it.

    Raises:
        SpaceError: The batch is elsewhere.
    """
    shape = tuple(tensor.shape)
    if not shape or shape[0] != BATCH or any(size % BATCH == 0 for size in shape[1:]):
        raise SpaceError("the batch axis of a block's input or output is not the first")
    return shape[1:]
