"""The feature net: a small classifier of images, whose features tell real images from made ones.

FID and its kin are defined on features of Inception-v3, which says little of grey images of 28
pixels. These are of a classifier of the same images; figures are comparable only where the feature
net is the same.

Legend: B batch, C channels, H and W sides, F features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.var.checks import check_counts, check_text, read_fields
from supernets.var.config import VarConfig
from supernets.var.vae_config import VaeConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """A classifier of square images.

    Attributes:
        name: For messages and files.
        image_size: Side of an image in pixels.
        image_channels: 3 for colours.
        classes: K.
        widths: Channels of each resolution, each half of the one before; the last are the
            features, F.

    Raises:
        SpaceError: A number below 1.
    """

    name: str
    image_size: int
    image_channels: int
    classes: int
    widths: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        check_text("the classifier's name", self.name)
        check_counts(self.name, image_size=self.image_size, image_channels=self.image_channels,
                     classes=self.classes, resolutions=len(self.widths),
                     **{f"widths[{i}]": width for i, width in enumerate(self.widths)})

    @staticmethod
    def of(var: VarConfig, vae: VaeConfig) -> "ClassifierConfig":
        """Returns a classifier of the images that a VQVAE makes, for the classes of a VAR."""
        return ClassifierConfig(name=f"features of {vae.name}", image_size=vae.image_size,
                                image_channels=vae.image_channels, classes=var.classes)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "ClassifierConfig":
        """Reads what `dataclasses.asdict` gave; see `VarConfig.from_dict`."""
        return ClassifierConfig(**read_fields(ClassifierConfig, data))


class FeatureClassifier(nn.Module):
    """Convolutions of kernel 3, one at the first resolution and two at each other; then the mean.

    Args:
        config: Sizes.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stages = nn.ModuleList([_convolution(config.image_channels, widths[0])])
        for narrow, wide in pairwise(widths):
            self.stages.append(nn.Sequential(_convolution(narrow, wide, stride=2),
                                             _convolution(wide, wide)))
        self.head = nn.Linear(widths[-1], config.classes)

    @property
    def name(self) -> str:
        """What features are of, for results."""
        return self.config.name

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Returns logits (B, K) of images in −1 … 1."""
        logits: Tensor = self.head(self.features(image_BCHW))
        return logits

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Returns (B, F), each ≥ 0: the last maps' means.

        Raises:
            InputError: Images of another size.
        """
        return self.maps(image_BCHW)[-1].mean((2, 3))

    def maps(self, image_BCHW: Tensor) -> Sequence[Tensor]:
        """Returns the maps of each resolution, (B, width, H, W), fine to coarse.

        Raises:
            InputError: Images of another size.
        """
        shape = (self.config.image_channels, self.config.image_size, self.config.image_size)
        if image_BCHW.shape[1:] != shape:
            raise InputError(f"{self.name} takes images (B, {', '.join(map(str, shape))}), not "
                             f"{tuple(image_BCHW.shape)}")
        x, found = image_BCHW, []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def _convolution(channels: int, out_channels: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels), nn.ReLU())
