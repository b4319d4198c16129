"""timm's transform for training. Legend: B batch, C channels, H and W sides, K classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.core.errors import InputError
from supernets.tasks.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmAugmentation:
    """What is random about an image: the arguments of ``timm.data.create_transform`` and ``Mixup``.

    Attributes:
        scale: Least and largest share of the image's area that is cropped.
        ratio: Least and largest width over height of the crop.
        hflip: Share of images that are mirrored left to right.
        color_jitter: Of brightness, contrast and saturation; not used with `auto_augment`.
        auto_augment: Such as ``"rand-m9-mstd0.5"``; none if empty.
        re_prob: Share of images that lose a rectangle (Zhong et al., arXiv 1708.04896).
        re_mode: What it is filled with: ``"const"``, ``"rand"`` or ``"pixel"``.
        interpolation: Of resizing; ``"random"`` is bilinear or bicubic.
        mixup: α of the weights with which pairs are averaged (Zhang et al., arXiv 1710.09412).
        cutmix: α of the areas that pairs swap (Yun et al., arXiv 1905.04899); with `mixup`, each
            batch takes one of both.

    Raises:
        InputError: A value out of range.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    color_jitter: float = 0.4
    auto_augment: str = ""
    re_prob: float = 0.0
    re_mode: str = "pixel"
    interpolation: str = "random"
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hflip", "re_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)} is no share from 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale {self.scale} is not two shares above 0, the smaller first")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"ratio {self.ratio} is not two positive numbers, the smaller first")
        for name in ("color_jitter", "mixup", "cutmix"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} {getattr(self, name)} must not be negative")
        if self.re_mode not in ("const", "rand", "pixel"):
            raise InputError(f"re_mode {self.re_mode!r} is none of const, rand, pixel")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed in pairs, and targets with them."""
        return self.mixup > 0 or self.cutmix > 0

    def transform(self, how: Preprocessing) -> Callable[[Any], Tensor]:
        """Returns what makes a normalised input (C, H, W) of an image of ``how.mode``.

        It draws from the global generators of Python, numpy and torch.

        Raises:
            InputError: A policy that timm does not know, or that grey images cannot have.
        """
        from timm.data.transforms_factory import create_transform

        if self.auto_augment and how.mode != "RGB":
            raise InputError(f"auto_augment {self.auto_augment!r} is for images of 3 channels; "
                             "leave it out")
        try:
            made: Callable[[Any], Tensor] = create_transform(
                how.input_shape, is_training=True, scale=self.scale, ratio=self.ratio,
                hflip=self.hflip, color_jitter=self.color_jitter,
                auto_augment=self.auto_augment or None, interpolation=self.interpolation,
                mean=how.mean, std=how.std, re_prob=self.re_prob, re_mode=self.re_mode)
        except (AssertionError, KeyError, ValueError) as error:
            raise InputError(f"timm does not take this augmentation ({error!r}): {self}") from None
        return made

    def mix(self, x_BCHW: Tensor, targets_B: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Returns inputs mixed with their mirror in the batch and targets (B, K) that sum to 1.

        It draws from numpy's global generator and changes the inputs in place.
        """
        from timm.data.mixup import Mixup

        mix = Mixup(mixup_alpha=self.mixup, cutmix_alpha=self.cutmix,  # type: ignore[no-untyped-call]
                    label_smoothing=0.0, num_classes=classes)
        mixed, shares = mix(x_BCHW, targets_B)
        return mixed, torch.as_tensor(shares)
