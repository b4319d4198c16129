"""The cost model behind ``rtf``, the real-time factor: latency over the length of the clip."""

from collections.abc import Mapping
from dataclasses import dataclass

from hardware_profiles.table import METRIC as LATENCY
from nas.core.costs import Estimate
from nas.core.errors import InputError
from nas.core.protocols import CostModel
from nas.core.types import FloatArray, IntArray

METRIC = "rtf"


@dataclass(frozen=True)
class RealTimeFactor:
    """The `CostModel` of the time that an inference takes, as a share of the clip's own length.

    Below 1 a device keeps up with what it hears. Clips of one batch are heard at the same time.

    Attributes:
        latency: Has ``latency_ms``, of one clip.
        seconds: Length of that clip.

    Raises:
        InputError: A length that is not positive.
    """

    latency: CostModel
    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"a clip of {self.seconds} s has no real-time factor")

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return {METRIC: "1"}

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the real-time factor of each code, with the bounds of its latency.

        Raises:
            InputError: A metric that this model does not have.
        """
        found = self.latency.predict(_latency(metric), codes)
        scale = 1.0 / (1000.0 * self.seconds)
        return Estimate(found.value * scale, found.lower * scale, found.upper * scale, found.kind)

    def block_table(self, metric: str) -> FloatArray | None:
        """Returns what each vocabulary block adds, (blocks,), where latency is such a sum.

        Raises:
            InputError: A metric that this model does not have.
        """
        table = self.latency.block_table(_latency(metric))
        return None if table is None else table / (1000.0 * self.seconds)


def _latency(metric: str) -> str:
    if metric != METRIC:
        raise InputError(f"a real-time factor has no metric {metric!r}; it has {METRIC!r}")
    return LATENCY
