"""Codes of architectures → features for a surrogate, one small object an encoding.

Legend: N architectures, F features, P proxies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import CostModel
from nas.core.space import GeneSpace
from nas.core.types import FloatArray, IntArray
from predictors.surrogate.columns import RankColumns, RobustColumns


class Encoder(Protocol):
    """Codes (N, genes) → features (N, F), row by row: a row's features depend on it alone."""

    def __call__(self, codes: IntArray) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class OneHot:
    """The space's own features: one-hot, and whatever else it knows of its networks."""

    space: GeneSpace

    def __call__(self, codes: IntArray) -> FloatArray:
        """Returns ``space.features(codes)``."""
        return self.space.features(codes)


@dataclass(frozen=True, slots=True)
class Ordinal:
    """Each gene as the place of its choice from 0 to 1, and for each conditional gene if it lives.

    A dead gene is 0 with a mark of 0; a live one has a mark of 1. A gene with one choice is 0.
    """

    space: GeneSpace

    def __call__(self, codes: IntArray) -> FloatArray:
        """Returns (N, genes + conditional genes)."""
        live = self.space.active(codes)
        steps = np.maximum(self.space.cardinalities - 1, 1)
        conditional = [gene.condition is not None for gene in self.space.genes]
        return np.concatenate([np.where(live, codes / steps, 0.0),
                               live[:, conditional].astype(np.float64)], axis=1)


@dataclass(frozen=True, slots=True)
class LogCosts:
    """The logarithms of closed-form or measured costs.

    Attributes:
        costs: The cost model.
        metrics: Its metrics to take, such as ``("macs", "params")``.
    """

    costs: CostModel
    metrics: tuple[str, ...]

    def __call__(self, codes: IntArray) -> FloatArray:
        """Returns (N, metrics).

        Raises:
            InputError: A cost that is not positive.
        """
        found = np.stack([self.costs.predict(metric, codes).value for metric in self.metrics],
                         axis=1)
        wrong = np.argwhere(~(found > 0))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(f"{self.metrics[column]} of row {row} is {found[row, column]:g}, "
                             "which has no logarithm; leave that metric out")
        return np.log(found)


@dataclass(frozen=True, slots=True)
class ProxyColumns:
    """Scores of zero-cost proxies on a scale that does not depend on their unit.

    Attributes:
        score: Codes → scores, (N, P).
        scale: Fitted on scores of some architectures, see `predictors.surrogate.columns`.
    """

    score: Callable[[IntArray], FloatArray]
    scale: RankColumns | RobustColumns

    def __call__(self, codes: IntArray) -> FloatArray:
        """Returns (N, P)."""
        return self.scale(self.score(codes))


@dataclass(frozen=True, slots=True)
class Concatenated:
    """Several encodings side by side."""

    parts: tuple[Encoder, ...]

    def __call__(self, codes: IntArray) -> FloatArray:
        """Returns (N, sum of F)."""
        return np.concatenate([part(codes) for part in self.parts], axis=1)
