"""What an elastic HuBERT is made of: the choices of its space and the sizes of what is stored.

Semantics are those of LightHuBERT (Wang et al., arXiv 2203.15610, section 3.1) and of its authors'
inference code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nas.core.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticHubertConfig:
    """A family of HuBERT encoders that share one stored network.

    The convolutions in front, which make frames of samples, are never sliced.

    Attributes:
        name: The space's versioned id, such as ``"hubert-base/1"``.
        embeds: Choices of the width of the residual stream, for the whole network, ascending.
        heads: Choices of a layer's attention heads, ascending.
        ratios: Choices of a layer's FFN units as a multiple of the width, ascending.
        depths: Choices of the number of layers, ascending.
        dropped: For each depth, the indices of the layers that it leaves out.
        width: Stored width.
        layers: Stored layers.
        stored_heads: Stored heads of a layer.
        stored_ratio: Stored FFN units of a layer as a multiple of the stored width.
        head_dim: Width of one attention head, which is the same in every subnet.
        frontend_width: Channels of the convolutions in front.
        kernels: Of them.
        strides: Of them.
        position_kernel: Of the positional convolution.
        position_groups: Of the positional convolution, the same in every subnet.
    """

    name: str
    embeds: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    depths: tuple[int, ...]
    dropped: tuple[tuple[int, ...], ...]
    width: int = 768
    layers: int = 12
    stored_heads: int = 12
    stored_ratio: float = 4.0
    head_dim: int = 64
    frontend_width: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SpaceError(f"the space's name is {self.name!r}, which is no text")
        _check_choices(self)
        _check_stored(self)
        _check_depths(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "ElasticHubertConfig":
        """Reads what `dataclasses.asdict` gave, tuples as lists, as JSON has it.

        Raises:
            SpaceError: A key is missing or unknown, or a value is out of range.
        """
        try:
            return ElasticHubertConfig(**{key: _tuples(value) for key, value in data.items()})
        except (TypeError, AttributeError) as error:
            raise SpaceError(f"hubert configuration cannot be read ({error})") from None

    @property
    def stored_units(self) -> int:
        """FFN units that a layer stores."""
        return int(self.stored_ratio * self.width)

    @property
    def receptive_field(self) -> int:
        """Samples that the first frame needs: the shortest clip."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def frames(self, samples: int) -> int:
        """Returns the frames of a clip; 0 or less if it is shorter than the receptive field."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def unit_blocks(self, embed: int, units: int) -> list[slice]:
        """Returns which stored FFN units a subnet of a width has, as runs of them.

        They are not the first ones: the stored units form blocks of the stored width, and each
        block gives its first `embed` units until there are enough.
        """
        count = -(-units // embed)
        return [slice(block * self.width, block * self.width + min(embed, units - block * embed))
                for block in range(count)]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_choices(config: ElasticHubertConfig) -> None:
    axes: dict[str, tuple[Sequence[float], type]] = {
        "embeds": (config.embeds, int), "heads": (config.heads, int),
        "ratios": (config.ratios, float), "depths": (config.depths, int)}
    for axis, (values, kind) in axes.items():
        if (not values or not all(type(value) is kind and 0 < value < 1e6 for value in values)
                or any(a >= b for a, b in pairwise(values))):
            raise SpaceError(f"{config.name}: {axis} {tuple(values)} must be positive "
                             f"{kind.__name__} numbers, ascending and distinct")


def _check_stored(config: ElasticHubertConfig) -> None:
    sizes = (config.width, config.layers, config.stored_heads, config.head_dim,
             config.frontend_width, config.position_kernel, config.position_groups,
             *config.kernels, *config.strides)
    if not all(type(size) is int and size > 0 for size in sizes) or (
            type(config.stored_ratio) is not float or not 0 < config.stored_ratio < 1e6):
        raise SpaceError(f"{config.name}: stored sizes, kernels and strides must be positive "
                         "integers and stored_ratio a positive float")
    if not config.kernels or len(config.kernels) != len(config.strides):
        raise SpaceError(f"{config.name}: {len(config.kernels)} kernels and "
                         f"{len(config.strides)} strides; each convolution has one of both")
    if config.embeds[-1] > config.width or config.heads[-1] > config.stored_heads:
        raise SpaceError(f"{config.name}: embeds and heads go up to {config.embeds[-1]} and "
                         f"{config.heads[-1]}, but {config.width} and {config.stored_heads} are "
                         "stored")
    for embed in (*config.embeds, config.width):
        if embed % config.position_groups:
            raise SpaceError(f"{config.name}: width {embed} is no multiple of the positional "
                             f"convolution's {config.position_groups} groups")
    _check_units(config)


def _check_units(config: ElasticHubertConfig) -> None:
    for embed in config.embeds:
        for ratio in config.ratios:
            units = int(ratio * embed)
            if units < 1 or config.unit_blocks(embed, units)[-1].stop > config.stored_units:
                raise SpaceError(f"{config.name}: {units} FFN units (width {embed}, ratio {ratio}) "
                                 f"are not among the {config.stored_units} that are stored")


def _check_depths(config: ElasticHubertConfig) -> None:
    known = range(config.layers)
    if len(config.dropped) != len(config.depths):
        raise SpaceError(f"{config.name}: dropped needs the layers left out by each of the depths "
                         f"{config.depths}, not {config.dropped}")
    for depth, dropped in zip(config.depths, config.dropped, strict=True):
        if not all(type(layer) is int for layer in dropped) or (
                not set(dropped) <= set(known) or len(set(dropped)) != len(dropped)):
            raise SpaceError(f"{config.name}: depth {depth} drops {dropped}, which are not "
                             f"distinct layers of 0 … {config.layers - 1}")
        if depth + len(dropped) != config.layers:
            raise SpaceError(f"{config.name}: depth {depth} drops {len(dropped)} layers of "
                             f"{config.layers}")
    for layer in known:
        if all(layer in dropped for dropped in config.dropped):
            raise SpaceError(f"{config.name}: layer {layer} is dropped by every depth")
