"""Which axes of a model's tensors belong to the same elastic width.

A width (`Dim`) is counted in units that are kept or dropped together: a channel, an attention head,
a group of a grouped convolution. An axis of a tensor that belongs to a width has
``outer × size × unit`` entries, unit by unit within each outer part: the rows of a ViT's ``qkv``
have three outer parts (query, key, value) of one head after the other, and each head is a unit of
its head dimension. The narrow network keeps the leading units.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from nas.core.errors import SpaceError


@dataclass(frozen=True, slots=True)
class Axis:
    """The part of a `Dim` in one axis of one tensor."""

    dim: str
    unit: int = 1
    outer: int = 1

    def entries(self, units: int) -> int:
        """Returns the length of the axis for that many units."""
        return self.outer * units * self.unit


@dataclass(slots=True)
class Dim:
    """One elastic width.

    Attributes:
        name: Of its gene.
        units: How many the model has.
        step: What one unit adds to the gene's value: 1 for channels and heads, the channels of a
            group for grouped convolutions.
        channels: Whether choices should be multiples of 8.
        fixed: Whether something that is not understood depends on it.
        ordered: Whether its units must stay in their order: something mixes neighbours.
        stream: Widths of one name are added place by place, though not all are kept alike: what
            is true of the order of one of them is true of all. None: it stands alone.
    """

    name: str
    units: int
    step: int = 1
    channels: bool = True
    fixed: bool = False
    ordered: bool = False
    stream: str | None = None


@dataclass(slots=True)
class Layout:
    """The elastic axes of a model's tensors.

    Attributes:
        dims: By name.
        axes: Tensor name → for each of its axes what it belongs to, None where it is of full
            length. Tensors that are not named have no elastic axis.
    """

    dims: dict[str, Dim] = field(default_factory=dict)
    axes: dict[str, tuple[Axis | None, ...]] = field(default_factory=dict)

    def add(self, name: str, units: int, *, step: int = 1, channels: bool = True) -> str:
        """Declares a width, or finds it again; returns its name.

        Raises:
            SpaceError: The width was declared with another size.
        """
        found = self.dims.setdefault(name, Dim(name, units, step, channels))
        if (found.units, found.step) != (units, step):
            raise SpaceError(f"width {name} is {found.units}×{found.step} in one place and "
                             f"{units}×{step} in another")
        return name

    def assign(self, tensor: str, *axes: Axis | str | None) -> None:
        """Says what the axes of a tensor belong to."""
        self.axes[tensor] = tuple(Axis(axis) if isinstance(axis, str) else axis for axis in axes)

    def fix(self, *dims: str | None) -> None:
        """Marks widths that something depends on which is not understood."""
        for dim in dims:
            if dim is not None:
                self.dims[dim].fixed = True

    def shape(self, tensor: str, full: tuple[int, ...], units: Mapping[str, int]
              ) -> tuple[int, ...]:
        """Returns the shape of a tensor in a network of these widths."""
        axes = self.axes.get(tensor)
        if axes is None:
            return full
        return tuple(size if axis is None else axis.entries(units[axis.dim])
                     for size, axis in zip(full, axes, strict=True))


def tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields all parameters and buffers by name, also buffers that are not saved."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
