"""What a mobilenet supernet is made of, and the search space that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.core.arch import Arch
from nas.core.errors import ArchError, SpaceError
from nas.core.space import Condition, Gene, GeneSpace

ACTIVATIONS = ("relu", "hard_swish", "silu")
SIDES = (8, 2048)  # of images that a family member can be planned for
MAX_STRIDED_STAGES = 4  # with the stem's stride 2: timm dilates beyond a total stride of 32


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """One stage of inverted residual blocks.

    Attributes:
        widths: Choices of the stage's output channels, ascending.
        depths: Choices of its number of blocks, ascending.
        kernels: Choices of each block's depthwise kernel, odd, ascending.
        expansions: Choices of each block's expansion ratio, ascending.
        stride: Of the first block, 1 or 2.
        se_ratio: Squeeze-and-excite width as a share of a block's INPUT channels; 0 means none.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 4, 6)
    stride: int = 1
    se_ratio: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileNetConfig:
    """A family of inverted-residual networks around a stride-2 stem and a 1×1 convolution head.

    Attributes:
        name: The space's versioned id, such as ``"mobilenet-fmnist/1"``.
        input_shape: (C, H, W).
        num_classes: Length of the logits.
        stem_width: Channels after the stem.
        head_width: Channels before the classifier.
        stages: In order.
        activation: One of `ACTIVATIONS`.
    """

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    stem_width: int
    head_width: int
    stages: tuple[StageConfig, ...]
    activation: str = "relu"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SpaceError(f"the space's name is {self.name!r}, which is no text")
        if self.activation not in ACTIVATIONS:
            raise SpaceError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        if not self.stages:
            raise SpaceError(f"{self.name} has no stages")
        sizes = (*self.input_shape, self.num_classes, self.stem_width, self.head_width)
        if len(self.input_shape) != 3 or not all(type(s) is int and s > 0 for s in sizes):
            raise SpaceError(f"{self.name}: input_shape (C, H, W), num_classes, stem_width and "
                             "head_width must be positive integers")
        if sum(stage.stride > 1 for stage in self.stages) > MAX_STRIDED_STAGES:
            raise SpaceError(f"{self.name}: at most {MAX_STRIDED_STAGES} stages may have stride 2")
        for index, stage in enumerate(self.stages):
            _check_stage(index, stage)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "MobileNetConfig":
        """Reads what `dataclasses.asdict` gave, tuples as lists, as JSON has it.

        Raises:
            SpaceError: A key is missing or unknown, or a value is out of range.
        """
        try:
            stages = tuple(StageConfig(**_with_tuples(stage)) for stage in data["stages"])
            return MobileNetConfig(**{**_with_tuples(data), "stages": stages})
        except KeyError as error:
            raise SpaceError(f"mobilenet configuration lacks {error}") from None
        except (TypeError, AttributeError) as error:
            raise SpaceError(f"mobilenet configuration cannot be read ({error})") from None


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """What one inverted residual block of one architecture is."""

    stage: int
    index: int
    in_width: int
    width: int
    kernel: int
    expansion: int
    stride: int
    se_ratio: float

    @property
    def mid_width(self) -> int:
        """Expanded channels, rounded to a multiple of 8 as timm does it."""
        return rounded_width(self.in_width * self.expansion)

    @property
    def se_width(self) -> int:
        """Squeezed channels, 0 without squeeze-and-excite; timm takes a share of the input."""
        return round(self.mid_width * (self.se_ratio / self.expansion))

    @property
    def has_skip(self) -> bool:
        """Whether the input is added: exactly where shapes allow it."""
        return self.stride == 1 and self.in_width == self.width


def at_resolution(config: MobileNetConfig, side: int) -> MobileNetConfig:
    """Returns the same family on square images of another side, for costs alone.

    Its space has the same genes and an id that says the side, such as
    ``"mobilenet-fmnist/1@224"``, so that nothing measured for one is taken for the other.

    Raises:
        SpaceError: The side is outside `SIDES`.
    """
    if not SIDES[0] <= side <= SIDES[1]:
        raise SpaceError(f"resolution {side}: images of {config.name} may have a side of "
                         f"{SIDES[0]} to {SIDES[1]} pixels")
    if config.input_shape[1:] == (side, side):
        return config
    return replace(config, name=f"{config.name}@{side}",
                   input_shape=(config.input_shape[0], side, side))


def build_space(config: MobileNetConfig) -> GeneSpace:
    """Returns the space: per stage width and depth, per block kernel and expansion."""
    genes: list[Gene] = []
    for s, stage in enumerate(config.stages):
        depth = f"stage{s}.depth"
        genes += [Gene(f"stage{s}.width", stage.widths), Gene(depth, stage.depths)]
        for b in range(stage.depths[-1]):
            deeper = tuple(value for value in stage.depths if value > b)
            live = None if deeper == stage.depths else Condition(depth, deeper)
            genes += [Gene(f"stage{s}.block{b}.kernel", stage.kernels, live),
                      Gene(f"stage{s}.block{b}.expansion", stage.expansions, live)]
    return GeneSpace(config.name, tuple(genes))


def plan(config: MobileNetConfig, arch: Arch) -> list[BlockPlan]:
    """Returns the blocks of an architecture, in order.

    Raises:
        ArchError: An architecture of another space.
    """
    if arch.space_id != config.name:
        raise ArchError(f"architecture is of space {arch.space_id!r}, not {config.name!r}")
    choice: dict[str, Any] = arch.as_dict()
    plans, in_width = [], config.stem_width
    for s, stage in enumerate(config.stages):
        width = choice[f"stage{s}.width"]
        for b in range(choice[f"stage{s}.depth"]):
            plans.append(BlockPlan(
                s, b, in_width, width, choice[f"stage{s}.block{b}.kernel"],
                choice[f"stage{s}.block{b}.expansion"], stage.stride if b == 0 else 1,
                stage.se_ratio))
            in_width = width
    return plans


def rounded_width(channels: float) -> int:
    """Returns the nearest multiple of 8, at least 8, that loses at most 10 % of the channels.

    This is the rule of timm's `make_divisible`, on which extraction relies; a test compares them.
    """
    width = max(8, int(channels + 4) // 8 * 8)
    return width + 8 if width < 0.9 * channels else width


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _check_stage(index: int, stage: StageConfig) -> None:
    axes: dict[str, Sequence[int]] = {"widths": stage.widths, "depths": stage.depths,
                                      "kernels": stage.kernels, "expansions": stage.expansions}
    for axis, values in axes.items():
        if (not values or not all(type(value) is int for value in values) or values[0] < 1
                or list(values) != sorted(set(values))):
            raise SpaceError(f"stage {index}: {axis} {tuple(values)} must be positive integers, "
                             "ascending and distinct")
    if any(kernel % 2 == 0 for kernel in stage.kernels):
        raise SpaceError(f"stage {index}: kernels {stage.kernels} must be odd")
    if stage.stride not in (1, 2):
        raise SpaceError(f"stage {index}: stride {stage.stride} is neither 1 nor 2")
    if not 0.0 <= stage.se_ratio <= 1.0:
        raise SpaceError(f"stage {index}: se_ratio {stage.se_ratio} is outside 0 … 1")
