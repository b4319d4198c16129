"""What a visual autoregressive model is made of, and the axes of its depth.

VAR: Tian et al., arXiv 2404.02905, section 3 and the authors' code. The axes of depth: VARiant,
arXiv 2511.16546. A scale is one token map of an image; scales go from coarse to fine.
"""

from dataclasses import dataclass
from typing import Any

from nas.core.errors import SpaceError
from supernets.var.checks import (
    check_counts,
    check_patch_nums,
    check_rates,
    check_text,
    is_ascending,
    read_fields,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VarConfig:
    """A transformer over token maps, and the subnets that share its weights.

    Attributes:
        name: The space's versioned id, such as ``"var-d16/1"``.
        patch_nums: Side of each scale's token map, ascending; ≥ 2 scales.
        depth: Stored layers, D.
        width: Channels, C; VAR has 64 · depth.
        depths: Choices of the layers that a flexible scale runs, ascending, each in 2 … D − 1.
        bridges: Choices of N, the first scales that run all layers, ascending. With N = the number
            of scales the net is whole.
        head_dim: Channels of an attention head.
        mlp_ratio: Units of a feed-forward as a multiple of the width.
        vocabulary: Codes of the VQVAE.
        code_dim: Channels of a code.
        classes: Labels 0 … classes − 1; the index `classes` means no class.
        shared_adaln: Whether the conditioning of all blocks is one projection and an offset each.
        attn_l2_norm: Whether queries and keys are normalised, with a learnt scale for each head.
        cond_drop: Share of labels that training replaces by no class; at 0 there is no guidance.
        drop_path: Of the last layer: rate at which training leaves its branches out; 0 at the
            first, linear in between. None: 0.1 · depth / 24, as VAR has it.
    """

    name: str
    patch_nums: tuple[int, ...]
    depth: int
    width: int
    depths: tuple[int, ...]
    bridges: tuple[int, ...]
    head_dim: int = 64
    mlp_ratio: int = 4
    vocabulary: int = 4096
    code_dim: int = 32
    classes: int = 1000
    shared_adaln: bool = False
    attn_l2_norm: bool = True
    cond_drop: float = 0.1
    drop_path: float | None = None

    def __post_init__(self) -> None:
        check_text("the space's name", self.name)
        check_patch_nums(self.name, self.patch_nums)
        check_counts(self.name, depth=self.depth, width=self.width, head_dim=self.head_dim,
                     mlp_ratio=self.mlp_ratio, vocabulary=self.vocabulary, code_dim=self.code_dim,
                     classes=self.classes)
        if self.width % self.head_dim:
            raise SpaceError(f"{self.name}: width {self.width} is no multiple of the head's "
                             f"{self.head_dim}")
        _check_flags(self)
        _check_axes(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "VarConfig":
        """Reads what `dataclasses.asdict` gave, tuples as lists, as JSON has it.

        Raises:
            SpaceError: A key is missing or unknown, or a value is out of range.
        """
        return VarConfig(**read_fields(VarConfig, data))

    @property
    def scales(self) -> int:
        """Number of token maps, K."""
        return len(self.patch_nums)

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.width // self.head_dim

    @property
    def rows(self) -> int:
        """How often an image is run: twice, with its class and without, where it is guided."""
        return 2 if self.cond_drop else 1

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens of the first scale, of the first two, and so on, (K,)."""
        return tuple(sum(side * side for side in self.patch_nums[:scale + 1])
                     for scale in range(self.scales))

    @property
    def tokens(self) -> int:
        """Tokens of an image, L."""
        return self.ends[-1]


def _check_flags(config: VarConfig) -> None:
    for what in ("shared_adaln", "attn_l2_norm"):
        if type(getattr(config, what)) is not bool:
            raise SpaceError(f"{config.name}: {what} must be true or false")
    check_rates(config.name, [("cond_drop", config.cond_drop),
                               ("drop_path", config.drop_path or 0.0)])


def _check_axes(config: VarConfig) -> None:
    depths, bridges = config.depths, config.bridges
    if not is_ascending(depths) or depths[0] < 2 or depths[-1] >= config.depth:
        raise SpaceError(f"{config.name}: depths {depths} must ascend within 2 … "
                         f"{config.depth - 1}: the index rule needs two layers, and a scale of "
                         "all layers is a bridge")
    if not is_ascending(bridges) or bridges[0] < 1 or bridges[-1] > config.scales:
        raise SpaceError(f"{config.name}: bridges {bridges} must ascend within 1 … "
                         f"{config.scales}, the number of scales")
