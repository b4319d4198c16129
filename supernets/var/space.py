"""The search space of a VAR's depths: how many layers each scale of an image runs.

Bridge scales 1 … N run all D layers, the flexible scales after them fewer. VARiant (arXiv
2511.16546) has one depth d for all flexible scales, and the layers
I_d = {⌊i(D − 1)/(d − 1)⌋, i = 0 … d − 1}. These sets do not nest (I_8 is no part of I_16 for
D = 30). Here each flexible scale has its own depth, which never rises within an image, and the
rule picks among the layers of the scale before: so the sets nest, no cache has a hole, and
VARiant's subnets are those with one depth throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.types import CODE_DTYPE, BoolArray, IntArray
from supernets.var.config import VarConfig


@dataclass(frozen=True)
class VarSpace(GeneSpace):
    """Gene ``bridge`` (N), and for each scale after the first bridge a gene ``scaleK.depth``.

    Scales count from 1. A depth gene is live where its scale is flexible. An architecture whose
    depth rises from one scale to the next is none of this space; codes are made canonical by
    lowering such depths, so that mutation and crossover stay in the space.
    """

    @cached_property
    def size(self) -> int:
        """The exact number of architectures: falling sequences of depths, for every N."""
        scales = len(self.genes) - 1
        first = self.genes[0].choices[0]
        assert isinstance(first, int)
        count = 0
        for bridge in self.genes[0].choices:
            assert isinstance(bridge, int)
            flexible = scales - (bridge - first)
            count += comb(flexible + self._depths - 1, flexible)
        return count

    @property
    def _depths(self) -> int:
        return len(self.genes[1].choices) if len(self.genes) > 1 else 1

    def encode(self, archs: Sequence[Arch]) -> IntArray:
        """Returns the codes (N, genes) of architectures of this space.

        Raises:
            ArchError: As `GeneSpace.encode`, or a depth rises in mid-image.
        """
        codes = super().encode(archs)
        for code, live in zip(codes, self.active(codes), strict=True):
            columns = np.flatnonzero(live[1:]) + 1
            rises = np.flatnonzero(np.diff(code[columns]) > 0)
            if rises.size:
                low, high = self.genes[columns[rises[0]]], self.genes[columns[rises[0] + 1]]
                raise ArchError(
                    f"{high.name} {high.choices[code[columns[rises[0] + 1]]]} is more than "
                    f"{low.name} {low.choices[code[columns[rises[0]]]]}: depth cannot rise within "
                    "an image, whose earlier scales left no keys in the added layers; give depths "
                    "that fall")
        return codes

    def canonical_codes(self, codes: IntArray) -> IntArray:
        """Returns the codes with depths lowered to the one before, and dead genes at 0."""
        live: BoolArray = self.active(codes)[:, 1:]
        # Dead genes stand in front, where they must bound nothing.
        depths = np.minimum.accumulate(np.where(live, codes[:, 1:], self._depths), axis=1)
        return np.concatenate([codes[:, :1], np.where(live, depths, 0)], 1).astype(CODE_DTYPE)

    def sample_codes(self, n: int, rng: np.random.Generator) -> IntArray:
        """Returns n canonical codes (n, genes): N uniform, then all its depth sequences alike."""
        codes = np.zeros((n, len(self.genes)), dtype=CODE_DTYPE)
        codes[:, 0] = rng.integers(len(self.genes[0].choices), size=n)
        live = self.active(codes)
        for bridge in range(len(self.genes[0].choices)):
            rows = np.flatnonzero(codes[:, 0] == bridge)
            columns = np.flatnonzero(live[rows[0], 1:]) + 1 if rows.size else rows
            if columns.size:
                codes[np.ix_(rows, columns)] = _falling(rows.size, columns.size, self._depths, rng)
        return codes


def _falling(n: int, length: int, values: int, rng: np.random.Generator) -> IntArray:
    # Sequences (n, length) of 0 … values − 1 that never rise, all alike in probability. Each is a
    # choice of values − 1 bars among length + values − 1 places: a place that is no bar has as its
    # value the number of bars behind it.
    places = length + values - 1
    bars = rng.random((n, places)).argsort(axis=1) < values - 1
    behind = values - 1 - bars.cumsum(axis=1)
    return behind[~bars].reshape(n, length)


@dataclass(frozen=True, slots=True)
class DepthPlan:
    """Which layers each scale runs.

    Attributes:
        layers: For each scale, coarse to fine, its layers in order; each scale's are among those
            of the scale before.
        ends: Tokens of the first scale, of the first two, and so on.
    """

    layers: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]

    @property
    def lengths(self) -> dict[int, int]:
        """Tokens that each layer runs on, which are an image's first ones."""
        return {layer: end for layers, end in zip(self.layers, self.ends, strict=True)
                for layer in layers}


def selected(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Returns the layers of a depth among others: the first, the last and those between, evenly.

    The rule is VARiant's, i ↦ ⌊i(n − 1)/(depth − 1)⌋ for n layers.

    Raises:
        ArchError: A depth below 2, for which the rule says nothing, or above n.
    """
    if not 2 <= depth <= len(layers):
        raise ArchError(f"depth {depth} of {len(layers)} layers: give 2 … {len(layers)}")
    return tuple(layers[i * (len(layers) - 1) // (depth - 1)] for i in range(depth))


def build_space(config: VarConfig) -> VarSpace:
    """Returns the space of a configuration."""
    genes = [Gene("bridge", config.bridges)]
    for scale in range(config.bridges[0] + 1, config.scales + 1):
        live = tuple(bridge for bridge in config.bridges if bridge < scale)
        genes.append(Gene(f"scale{scale}.depth", config.depths,
                          None if live == config.bridges else Condition("bridge", live)))
    return VarSpace(config.name, tuple(genes))


def plan(config: VarConfig, arch: Arch) -> DepthPlan:
    """Returns the layers of each scale.

    Raises:
        ArchError: The architecture is not of the configuration's space.
    """
    build_space(config).encode([arch])
    choice: dict[str, Any] = arch.as_dict()
    layers = [tuple(range(config.depth))]
    for scale in range(2, config.scales + 1):
        layers.append(layers[-1] if scale <= choice["bridge"]
                      else selected(layers[-1], choice[f"scale{scale}.depth"]))
    return DepthPlan(tuple(layers), config.ends)


def variant_arch(config: VarConfig, *, bridge: int, depth: int | None = None) -> Arch:
    """Returns a subnet of VARiant: N bridge scales, and one depth for all flexible ones.

    Args:
        config: The family member.
        bridge: N.
        depth: Of the flexible scales; None where there is none: N is the number of scales.

    Raises:
        ArchError: The space has no such N or depth.
    """
    if depth is None and bridge < config.scales:
        raise ArchError(f"{bridge} of {config.scales} scales are bridges; give the depth of the "
                        "others")
    space = build_space(config)
    fill = config.depths[0] if bridge == config.scales else depth
    return make_arch(space, {gene.name: bridge if gene.name == "bridge" else fill
                             for gene in space.genes})


def full_arch(config: VarConfig) -> Arch:
    """Returns the whole net: all scales run all layers.

    Raises:
        ArchError: The space does not have it.
    """
    return variant_arch(config, bridge=config.scales)
