"""From an image of any size and mode to a network's input: timm's transform for evaluation.

Legend: C channels, H and W sides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.core.errors import DataError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
_MODES = {1: "L", 3: "RGB"}  # channels → Pillow's name
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How an image becomes an input, and what a training transform shares with it.

    Attributes:
        input_shape: (C, H, W); C is 1 or 3.
        mean: Of each channel, of pixels scaled to 0 … 1.
        std: The same.
        interpolation: Of resizing, one of `INTERPOLATIONS`.
        crop_fraction: Share of each side that the crop keeps after resizing.
        crop_mode: ``"center"``: the shorter side is resized and the longer one loses its ends;
            ``"squash"``: both are resized; ``"border"``: the longer one is, the rest is filled.

    Raises:
        DataError: Values that contradict one another.
    """

    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_fraction: float = 0.875
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        channels = self.input_shape[0]
        if channels not in _MODES or min(self.input_shape) < 1:
            raise DataError(f"inputs of shape {self.input_shape} (channels, height, width) are no "
                            "images; the channels must be 1 or 3")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise DataError(f"{len(values)} values of {name} for {channels} channels")
        if not min(self.std) > 0:
            raise DataError(f"the pixels' standard deviations {self.std} must be positive")
        if not 0 < self.crop_fraction <= 1:
            raise DataError(f"crop fraction {self.crop_fraction} is not above 0 and up to 1")
        for value, known in ((self.interpolation, INTERPOLATIONS), (self.crop_mode, CROP_MODES)):
            if value not in known:
                raise DataError(f"{value!r} is none of {', '.join(known)}")

    @classmethod
    def of_timm(cls, config: Mapping[str, Any]) -> Self:
        """Returns that of ``timm.data.resolve_model_data_config(model)``."""
        return cls(input_shape=tuple(config["input_size"]), mean=tuple(config["mean"]),
                   std=tuple(config["std"]), interpolation=config["interpolation"],
                   crop_fraction=config["crop_pct"], crop_mode=config["crop_mode"])

    @property
    def mode(self) -> str:
        """Pillow's name of what images are converted to: ``"L"`` or ``"RGB"``."""
        return _MODES[self.input_shape[0]]

    def to_pixels(self) -> Callable[[Image.Image], Tensor]:
        """Returns what resizes and crops an image of `mode` into uint8 pixels (C, H, W)."""
        from timm.data.transforms_factory import create_transform

        pixels: Callable[[Image.Image], Tensor] = create_transform(
            self.input_shape, is_training=False, interpolation=self.interpolation, mean=self.mean,
            crop_pct=self.crop_fraction, crop_mode=self.crop_mode, normalize=False)
        return pixels

    def normalised(self, pixels: Tensor) -> Tensor:
        """Returns uint8 pixels (…, C, H, W) as float32, bit for bit as timm's transform does."""
        mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1)
                     for values in (self.mean, self.std))
        return pixels.float().div_(255).sub_(mean).div_(std)

    def describe(self) -> dict[str, Any]:
        """Returns JSON values for an exported file; mean and std broadcast over (C, H, W)."""
        mean, std = ([[[value]] for value in values] for values in (self.mean, self.std))
        return {"input": "image", "layout": "NCHW", "shape": list(self.input_shape),
                "color": self.mode, "scale": 1 / 255, "mean": mean, "std": std,
                "interpolation": self.interpolation, "crop_fraction": self.crop_fraction,
                "crop_mode": self.crop_mode}


def decoded(image: Image.Image, mode: str) -> Image.Image:
    """Returns an opened image decoded and converted to ``"L"`` or ``"RGB"``.

    Transparency is left out, as timm does; 16 bits a pixel become 8.

    Raises:
        Exception: Whatever a damaged file makes its decoder raise.
        ValueError: A mode that has no agreed meaning as grey or colour.
    """
    if image.mode in _SIXTEEN_BITS:
        image = _eight_bits(image)
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where the palette's is dropped at once
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow would cut off at 255.
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("pixels of more than 16 bits")
    return Image.fromarray((values // 257).astype(np.uint8))
