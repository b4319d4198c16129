"""The cost model behind ``latency_ms``: one look-up a block, and the calibration.

A calibration with steps takes one look-up a block and feature, and one a feature besides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardware_profiles.candidates import step_factor
from hardware_profiles.features import feature_matrix
from hardware_profiles.identity import AGAIN
from hardware_profiles.profile import CONSTANT, HardwareProfile
from nas.core.blocks import Block
from nas.core.costs import Estimate, reduce_blocks
from nas.core.errors import InputError, ProfileError
from nas.core.types import FloatArray, IntArray

METRIC = "latency_ms"

_CHUNK = 16_384  # codes scored at once: keeps the gathered columns in cache


@dataclass(frozen=True)
class LatencyTable:
    """The `CostModel` of a profile's latency.

    Attributes:
        profile: What was measured.
        vocabulary: Every distinct block of the space, each of which the profile must have.
        block_ids: Codes (N, genes) → ids (N, slots), −1 where the slot is empty.

    Raises:
        ProfileError: The profile lacks a block of the vocabulary.
    """

    profile: HardwareProfile
    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]

    def __post_init__(self) -> None:
        try:
            _ = self._calibrated, self._stepped
        except ProfileError as error:
            raise ProfileError(f"profile {self.profile.id} does not fit the space: {error}; "
                               f"{AGAIN}") from None

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return {METRIC: "ms"}

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the latency of each code, in ms.

        Lower and upper bound hold 90 % of the held-out networks.

        Raises:
            InputError: A metric that this model does not have.
        """
        _require_latency(metric)
        fit = self.profile.calibration
        value = reduce_blocks(self._calibrated, codes, self.block_ids)
        value += fit.coefficients.get(CONSTANT, 0.0)
        value *= self._factor(codes)
        return Estimate(value, value * fit.lower_ratio, value * fit.upper_ratio, self.profile.kind)

    def block_table(self, metric: str) -> FloatArray | None:
        """Returns what each vocabulary block adds to a network's latency, in ms, (blocks,).

        None where the calibration has steps: then a network is no sum over its blocks.

        Raises:
            InputError: A metric that this model does not have.
        """
        _require_latency(metric)
        return None if self.profile.calibration.steps else self._calibrated

    def block_shares(self, code: IntArray) -> FloatArray:
        """Returns what each vocabulary block would add to one network's latency, in ms, (blocks,).

        Args:
            code: Of the network, (genes,).
        """
        return np.asarray(self._calibrated * self._factor(code[None]))

    def _factor(self, codes: IntArray) -> FloatArray | float:
        steps = self.profile.calibration.steps
        if not steps:
            return 1.0
        out = np.empty(len(codes))
        for start in range(0, len(codes), _CHUNK):
            # Slots first: a sum over the first axis runs along memory.
            ids = self.block_ids(codes[start:start + _CHUNK]).T
            out[start:start + _CHUNK] = step_factor(steps, {
                name: np.take(column, ids).sum(axis=0) for name, column in self._stepped.items()})
        return out

    @cached_property
    def _calibrated(self) -> FloatArray:
        fit = self.profile.calibration
        names = [name for name in fit.coefficients if name != CONSTANT]
        weights = np.array([fit.coefficients[name] for name in names])
        return np.asarray(self._features(names) @ weights)

    @cached_property
    def _stepped(self) -> dict[str, FloatArray]:
        names = list(self.profile.calibration.steps)
        columns = self._features(names).T
        return {name: np.append(column, 0.0)  # id -1 reads the trailing zero
                for name, column in zip(names, columns, strict=True)}

    def _features(self, names: Sequence[str]) -> FloatArray:
        empty_ms = self.profile.calibration.empty_ms or 0.0
        own_ms = {entry.key: entry.timing.latency_ms - empty_ms for entry in self.profile.entries}
        return feature_matrix(names, self.vocabulary, own_ms)


def _require_latency(metric: str) -> None:
    if metric != METRIC:
        raise InputError(f"a latency table has no metric {metric!r}; it has {METRIC!r}")
