"""The cost model behind ``energy_mj``: fitted to the whole networks whose energy was measured.

energy = a · predicted latency + b · MACs + c. Power sensors are too slow for single blocks, and a
network's power varies far less than its time, so that the latency table carries most of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardware_profiles.calibrate import INTERVAL, quality
from hardware_profiles.candidates import relative_least_squares
from hardware_profiles.profile import HardwareProfile, Quality
from hardware_profiles.table import METRIC as LATENCY
from hardware_profiles.table import LatencyTable
from nas.core.blocks import Block
from nas.core.costs import Estimate, macs, reduce_blocks
from nas.core.errors import InputError, ProfileError
from nas.core.types import FloatArray, IntArray

METRIC = "energy_mj"
MIN_NETWORKS = 8  # more than twice as many as coefficients


@dataclass(frozen=True)
class EnergyTable:
    """The `CostModel` of a profile's energy, in mJ per inference.

    What the sensor sees counts: the whole board or the processor's package, idle power included.

    Attributes:
        profile: One whose networks have their energy beside their latency.
        vocabulary: Every distinct block of the space.
        block_ids: Codes (N, genes) → ids (N, slots), −1 where the slot is empty.

    Raises:
        ProfileError: Fewer than `MIN_NETWORKS` networks have one, or the fit makes no sense.
    """

    profile: HardwareProfile
    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]

    def __post_init__(self) -> None:
        found = len(self._measured[1])
        if found < MIN_NETWORKS:
            raise ProfileError(
                f"profile {self.profile.id} holds the energy of {found} networks, {MIN_NETWORKS} "
                "are needed; where the device has a power sensor, run the agent with --power, else "
                f"leave {METRIC} out of --objectives")
        if self._left_out.min() <= 0:
            raise ProfileError(f"the energies in profile {self.profile.id} fit no model that stays "
                               "positive; run the agent again with a longer --power-seconds")

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return {METRIC: "mJ"}

    @property
    def held_out(self) -> Quality:
        """How well each network is predicted by a fit on all the others."""
        return quality(self._left_out, self._measured[1])

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the energy of each code, in mJ.

        Lower and upper bound hold 90 % of the measured networks when each is left out.

        Raises:
            InputError: A metric that this model does not have.
        """
        if metric != METRIC:
            raise InputError(f"an energy table has no metric {metric!r}; it has {METRIC!r}")
        value = self._features(codes) @ self._fit
        low, high = np.quantile(self._measured[1] / self._left_out, INTERVAL)
        return Estimate(value, value * low, value * high, self.profile.kind)

    def block_table(self, metric: str) -> FloatArray:
        """Returns what each vocabulary block adds to a network's energy, in mJ, (blocks,).

        Raises:
            InputError: A metric that this model does not have.
        """
        if metric != METRIC:
            raise InputError(f"an energy table has no metric {metric!r}; it has {METRIC!r}")
        return np.asarray(self._fit[0] * self._latency.block_table(LATENCY)
                          + self._fit[1] * self._block_macs)

    @cached_property
    def _latency(self) -> LatencyTable:
        return LatencyTable(self.profile, self.vocabulary, self.block_ids)

    @cached_property
    def _block_macs(self) -> FloatArray:
        return np.array([macs(block.graph) for block in self.vocabulary], dtype=np.float64)

    @cached_property
    def _measured(self) -> tuple[IntArray, FloatArray]:
        nets = [(net.codes, net.timing.energy_mj) for net in self.profile.subnets
                if net.timing.energy_mj is not None]
        return (np.array([codes for codes, _ in nets], dtype=np.int16),
                np.array([energy for _, energy in nets]))

    @cached_property
    def _fit(self) -> FloatArray:
        codes, energy = self._measured
        return relative_least_squares(self._features(codes), energy)

    @cached_property
    def _left_out(self) -> FloatArray:
        codes, energy = self._measured
        features, others = self._features(codes), ~np.eye(len(energy), dtype=bool)
        return np.array([row @ relative_least_squares(features[rest], energy[rest])
                         for row, rest in zip(features, others, strict=True)])

    def _features(self, codes: IntArray) -> FloatArray:
        work = reduce_blocks(self._block_macs, codes, self.block_ids)
        return np.column_stack([self._latency.predict(LATENCY, codes).value, work,
                                np.ones(len(codes))])
