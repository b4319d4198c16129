"""What a multi-scale VQVAE is made of, and whether a transformer speaks its codes."""

import math
from dataclasses import dataclass
from typing import Any

from nas.core.errors import SpaceError
from supernets.var.checks import check_counts, check_patch_nums, check_text, read_fields
from supernets.var.config import VarConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig:
    """A multi-scale VQVAE of square images.

    Attributes:
        name: For messages and files.
        image_size: Side of an image in pixels.
        patch_nums: Side of each scale's token map, ascending; the last is the latent's side.
        strides: Factor of each downsampling, so that their product is the whole factor; VAR's is
            (2, 2, 2, 2).
        multipliers: Channels of each resolution as a multiple of `width`; one more than strides.
        width: Channels at the image's resolution.
        image_channels: 3 for colours.
        blocks: Residual blocks of a resolution in the encoder; the decoder has one more.
        groups: Of group norm.
        vocabulary: Codes.
        code_dim: Channels of a code.
        phis: Convolutions behind the upsampling, shared by neighbouring scales.
        phi_share: Share of a convolution's output in what it passes on, ρ.
        commitment: Weight of the loss that draws the encoder to the codes, β.
    """

    name: str
    image_size: int
    patch_nums: tuple[int, ...]
    strides: tuple[int, ...]
    multipliers: tuple[int, ...]
    width: int
    image_channels: int = 3
    blocks: int = 2
    groups: int = 32
    vocabulary: int = 4096
    code_dim: int = 32
    phis: int = 4
    phi_share: float = 0.5
    commitment: float = 0.25

    def __post_init__(self) -> None:
        check_text("the VQVAE's name", self.name)
        check_patch_nums(self.name, self.patch_nums)
        check_counts(self.name, image_size=self.image_size, width=self.width, blocks=self.blocks,
                     image_channels=self.image_channels, groups=self.groups,
                     vocabulary=self.vocabulary, code_dim=self.code_dim, phis=self.phis)
        check_counts(self.name, **{f"strides[{i}]": s for i, s in enumerate(self.strides)},
                     **{f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)})
        _check_shares(self)
        _check_latent(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "VaeConfig":
        """Reads what `dataclasses.asdict` gave; see `VarConfig.from_dict`."""
        return VaeConfig(**read_fields(VaeConfig, data))

    @property
    def factor(self) -> int:
        """Pixels of an image's side for each of the latent's."""
        return math.prod(self.strides)


def check_pair(var: VarConfig, vae: VaeConfig) -> None:
    """Checks that a transformer speaks the codes of a VQVAE.

    Raises:
        SpaceError: Patch numbers, codes or their channels differ.
    """
    for what in ("patch_nums", "vocabulary", "code_dim"):
        ours, theirs = getattr(var, what), getattr(vae, what)
        if ours != theirs:
            raise SpaceError(f"{var.name} has {what} {ours} and the VQVAE {vae.name} {theirs}; "
                             "give the VQVAE that it was trained with")


def _check_shares(config: VaeConfig) -> None:
    for what, share in (("phi_share", config.phi_share), ("commitment", config.commitment)):
        if not isinstance(share, float) or not 0 <= share <= 1:
            raise SpaceError(f"{config.name}: {what} {share!r} must be a float in 0 … 1")


def _check_latent(config: VaeConfig) -> None:
    if len(config.multipliers) != len(config.strides) + 1:
        raise SpaceError(f"{config.name}: {len(config.strides)} strides need "
                         f"{len(config.strides) + 1} multipliers, not {len(config.multipliers)}")
    if config.image_size % config.factor:
        raise SpaceError(f"{config.name}: an image of {config.image_size} pixels cannot be divided "
                         f"by {config.factor}; change image_size or strides")
    latent = config.image_size // config.factor
    if config.patch_nums[-1] != latent:
        raise SpaceError(f"{config.name}: patch numbers {config.patch_nums} must end at {latent}, "
                         f"the side of the latent ({config.image_size} pixels ÷ {config.factor})")
    for multiplier in config.multipliers:
        if multiplier * config.width % config.groups:
            raise SpaceError(f"{config.name}: {multiplier * config.width} channels are no multiple "
                             f"of {config.groups} groups")
