"""Whether fresh measurements are within the error that a profile states of itself."""

import math
from dataclasses import dataclass

from scipy import stats

from hardware_profiles.calibrate import INTERVAL, MIN_NETS, quality
from hardware_profiles.identity import AGAIN
from hardware_profiles.profile import Calibration, Quality
from nas.core.costs import Estimate
from nas.core.errors import ProfileError
from nas.core.types import FloatArray

MAX_NETS = 1000  # minutes of measuring
LEVEL = 0.01  # each of the two rules rejects a profile that is right as often as this
BIAS_TOLERANCE = 0.02  # what a profile may be off on average


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How a profile's predictions meet fresh measurements.

    Attributes:
        quality: Of the fresh networks.
        inside: How many lie between the lower and the upper end of their estimate.
        inside_needed: Fewer are a failure.
        bias_limit: So is a mean relative error beyond ± this.
        problems: One line for each rule that is broken.
    """

    quality: Quality
    inside: int
    inside_needed: int
    bias_limit: float
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the profile's stated error holds."""
        return not self.problems


def judge(estimate: Estimate, measured_ms: FloatArray, *, stated: Calibration) -> Verdict:
    """Compares fresh random networks with what the profile predicted for them.

    Two rules, each of which a profile that is right breaks with a probability of at most 1 %:

    1. Enough networks are within [lower, upper], whose ends are the 5 % and 95 % quantiles of
       measured / predicted over the m held-out networks. Held-out and fresh networks are drawn
       alike, so ranks alone decide: of N fresh ones those between the r-th and the s-th smallest
       of m are Beta-binomial(N, s − r, m − s + r + 1), whatever the distribution of the error
       (Wilks 1942, "Statistical prediction with special reference to the problem of tolerance
       limits"). A binomial with 90 % would forget that the quantiles are estimates themselves,
       and reject too often. The ends lie between order statistics; the narrower pair counts.
    2. The bias is within that of the held-out networks plus 2 %, give or take the sampling error
       of a mean of N (Student's t, one-sided).

    Together they see a machine that has become slower or faster (the second), and a prediction
    that is right on average and wrong for each network (the first).

    Args:
        estimate: The predictions, (N,) each, in ms.
        measured_ms: The measurements, (N,).
        stated: What the profile says of itself.

    Raises:
        ProfileError: See `require_enough`.
    """
    count = len(measured_ms)
    require_enough(count, stated)
    found = quality(estimate.value, measured_ms)
    inside = int(((estimate.lower <= measured_ms) & (measured_ms <= estimate.upper)).sum())
    needed = inside_needed(count, held_out=stated.test_count)
    errors = estimate.value / measured_ms - 1.0
    margin = stats.t.ppf(1.0 - LEVEL, count - 1) * errors.std(ddof=1) / math.sqrt(count)
    limit = abs(stated.stated_quality().bias) + BIAS_TOLERANCE + float(margin)
    problems = []
    if inside < needed:
        problems.append(f"{inside} of {count} fresh networks are within the stated interval, at "
                        f"least {needed} should be")
    if abs(found.bias) > limit:
        problems.append(f"predictions are off by {found.bias:+.1%} on average, the limit is "
                        f"±{limit:.1%}")
    return Verdict(quality=found, inside=inside, inside_needed=needed, bias_limit=limit,
                   problems=tuple(problems))


def require_enough(count: int, stated: Calibration) -> None:
    """Checks that there are enough networks for a verdict, before they are measured.

    Raises:
        ProfileError: Fewer than `MIN_NETS` fresh or held-out networks, more than `MAX_NETS`, or a
            profile that states no error.
    """
    if not MIN_NETS <= count <= MAX_NETS:
        raise ProfileError(f"--nets {count}: a check takes {MIN_NETS} to {MAX_NETS} networks")
    stated.stated_quality()
    if stated.test_count < MIN_NETS:
        raise ProfileError(f"the profile states an error over {stated.test_count} held-out "
                           f"networks, too few to check (at least {MIN_NETS}); {AGAIN}")


def inside_needed(count: int, *, held_out: int) -> int:
    """Returns how many of `count` fresh networks must be within the interval; see `judge`."""
    low, high = (quantile * (held_out - 1) for quantile in INTERVAL)
    spacings = math.floor(high) - math.ceil(low)
    return int(stats.betabinom.ppf(LEVEL, count, spacings, held_out + 1 - spacings))
