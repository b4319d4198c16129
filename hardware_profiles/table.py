"""The cost model behind ``latency_ms``: one look-up a block, and the calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardware_profiles.features import feature_matrix
from hardware_profiles.identity import AGAIN
from hardware_profiles.profile import CONSTANT, HardwareProfile
from nas.core.blocks import Block
from nas.core.costs import Estimate, reduce_blocks
from nas.core.errors import InputError, ProfileError
from nas.core.types import FloatArray, IntArray

METRIC = "latency_ms"


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
            _ = self._calibrated
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
        fit = self.profile.calibration
        value = reduce_blocks(self.block_table(metric), codes, self.block_ids)
        value += fit.coefficients.get(CONSTANT, 0.0)
        return Estimate(value, value * fit.lower_ratio, value * fit.upper_ratio, self.profile.kind)

    def block_table(self, metric: str) -> FloatArray:
        """Returns what each vocabulary block adds to a network's latency, in ms, (blocks,).

        Raises:
            InputError: A metric that this model does not have.
        """
        if metric != METRIC:
            raise InputError(f"a latency table has no metric {metric!r}; it has {METRIC!r}")
        return self._calibrated

    @cached_property
    def _calibrated(self) -> FloatArray:
        fit = self.profile.calibration
        names = [name for name in fit.coefficients if name != CONSTANT]
        own_ms = {entry.key: entry.timing.latency_ms - (fit.empty_ms or 0.0)
                  for entry in self.profile.entries}
        weights = np.array([fit.coefficients[name] for name in names])
        return np.asarray(feature_matrix(names, self.vocabulary, own_ms) @ weights)
