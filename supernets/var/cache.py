"""Key-value caches of one batch of images, allocated once.

All layers' keys lie in one buffer, and all values in another, token by token, so that a layer's
cache is a run of tokens in it. Where caches are freed, layers that no later scale runs give their
place to the others: these move within the buffer, which is never larger than its peak. Appending
by concatenation would hold a layer twice for a moment, and growing the caches of each layer too.

Legend: R rows (images, twice where they are guided), T tokens, H heads, D width of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supernets.var.layers import Remember
from supernets.var.memory import layer_tokens
from supernets.var.space import DepthPlan


@dataclass(frozen=True, slots=True)
class Layout:
    """Where layers' tokens lie from a scale on.

    Attributes:
        scale: The first scale that it holds for, from 0.
        offsets: Of the first token of each layer that runs.
    """

    scale: int
    offsets: Mapping[int, int]


def layouts(plan: DepthPlan, *, freed: bool) -> tuple[Layout, ...]:
    """Returns where layers' tokens lie, in order of scales.

    Args:
        plan: The layers of each scale.
        freed: Whether layers go as soon as no later scale runs them; else there is one layout.
    """
    if not freed:
        offsets, place = {}, 0
        for layer, tokens in sorted(plan.lengths.items()):
            offsets[layer] = place
            place += tokens
        return (Layout(0, offsets),)
    found = []
    for scale, layers in enumerate(plan.layers):
        if scale == 0 or layers != plan.layers[scale - 1]:
            room = max(end for same, end in zip(plan.layers, plan.ends, strict=True)
                       if same == layers)
            found.append(Layout(scale, {layer: index * room
                                        for index, layer in enumerate(layers)}))
    return tuple(found)


class KeyValueCache:
    """Keys and values of all layers.

    Args:
        plan: The layers of each scale.
        rows: R.
        heads: H.
        head_dim: D.
        key_dtype: Of the stored keys.
        value_dtype: Of the stored values.
        device: Where they lie.
        freed: See `layouts`.
    """

    def __init__(self, plan: DepthPlan, *, rows: int, heads: int, head_dim: int,
                 key_dtype: torch.dtype, value_dtype: torch.dtype, device: torch.device,
                 freed: bool) -> None:
        tokens = layer_tokens(plan, freed=freed)
        self._plan = plan
        self._keys, self._values = (
            torch.empty(tokens, rows, heads, head_dim, dtype=dtype, device=device)
            for dtype in (key_dtype, value_dtype))
        self._later = list(layouts(plan, freed=freed))
        self._offsets = self._later.pop(0).offsets

    @property
    def nbytes(self) -> int:
        """Bytes of what is allocated."""
        return sum(buffer.untyped_storage().nbytes() for buffer in (self._keys, self._values))

    def begin(self, scale: int) -> None:
        """Makes room for a scale; scales are begun in order, from 0."""
        if self._later and self._later[0].scale == scale:
            target = self._later.pop(0).offsets
            filled = self._plan.ends[scale - 1]
            for buffer in (self._keys, self._values):
                _relocate(buffer, self._offsets, target, filled)
            self._offsets = target

    def remember(self, layer: int, scale: int) -> Remember:
        """Returns what takes a layer's new keys and values at a scale, and gives all so far."""
        first = self._offsets[layer]
        end = self._plan.ends[scale]
        begin = self._plan.ends[scale - 1] if scale else 0

        def extended(buffer: Tensor, new_RHTD: Tensor) -> Tensor:
            buffer[first + begin:first + end] = new_RHTD.permute(2, 0, 1, 3)
            return buffer[first:first + end].permute(1, 2, 0, 3).to(new_RHTD.dtype)

        def take(k_RHTD: Tensor, v_RHTD: Tensor) -> tuple[Tensor, Tensor]:
            return extended(self._keys, k_RHTD), extended(self._values, v_RHTD)

        return take


def _relocate(buffer: Tensor, source: Mapping[int, int], target: Mapping[int, int],
              filled: int) -> None:
    # Both layouts have the layers in one order. So those that move forwards, from the last on, and
    # those that move backwards, from the first on, never meet a run that is still to move.
    for layer in sorted(target, reverse=True):
        if target[layer] > source[layer]:
            _shift(buffer, source[layer], target[layer], filled)
    for layer in sorted(target):
        if target[layer] < source[layer]:
            _shift(buffer, source[layer], target[layer], filled)


def _shift(buffer: Tensor, source: int, target: int, length: int) -> None:
    # In pieces no longer than the way, as the runs may overlap.
    way = abs(target - source)
    starts = range(0, length, way)
    for start in starts if target < source else reversed(starts):
        stop = min(start + way, length)
        buffer[target + start:target + stop] = buffer[source + start:source + stop]
