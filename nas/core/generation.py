"""A generator of images as separate parts, between the family that makes it and its export.

Legend: B images, R rows (images, twice where they are guided), L tokens of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import InputError
from nas.core.rng import derive_rng
from nas.core.types import FloatArray, IntArray

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorPart:
    """One module of several inputs and outputs.

    Attributes:
        name: Of its file, without an ending.
        module: In evaluation mode; takes the inputs in their order, gives a tensor or a tuple.
        inputs: Name → example, as they are in a generation.
        outputs: Names, in their order.
        free: Input → axis → name of its size, which may be any.
    """

    name: str
    module: "nn.Module"
    inputs: "Mapping[str, Tensor]"
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Images that were made, and with what: equal draws are to give them again.

    Attributes:
        labels: Classes, (B,).
        guidance: Of the last scale.
        seed: Of the random numbers.
        tokens: (B, L), coarse to fine.
        images: (B, channels, H, W) in −1 … 1.
    """

    labels: IntArray
    guidance: float
    seed: int
    tokens: IntArray
    images: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorParts:
    """A whole generator.

    Attributes:
        parts: Those of the scales, coarse to fine, and then the decoder.
        facts: What makes images of the parts, as JSON values: ``patch_nums``, ``classes``,
            ``vocabulary``, ``code_dim``, ``heads``, ``head_dim``, ``layers`` of each scale,
            ``guided``: whether it can do without a class, and ``labels``: names of the classes,
            or none.
        sample: Made by these modules.
    """

    parts: Sequence[GeneratorPart]
    facts: Mapping[str, Any]
    sample: Sample


def image_uniforms(tokens: int, *, images: int, seed: int, first: int = 0) -> FloatArray:
    """Returns the random numbers of images, (B, L) in double precision.

    An image's numbers depend on the seed and its index alone, not on the batch it is made in.

    Args:
        tokens: L.
        images: B.
        seed: Of the run, ≥ 0.
        first: Index of the first image, ≥ 0.

    Raises:
        InputError: A negative seed or index.
    """
    if seed < 0 or first < 0:
        raise InputError(f"seed {seed} and first image {first} must be 0 or more")
    return np.stack([derive_rng(seed, "var image", index=first + index).random(tokens)
                     for index in range(images)])
