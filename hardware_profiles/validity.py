"""Whether a measurement repeats, and what else a reader of a profile should doubt."""

import itertools
from collections.abc import Sequence

import numpy as np

from hardware_profiles.calibrate import rank_correlation
from hardware_profiles.clocks import drift
from hardware_profiles.measure import CONTENDED, Measurement, agreeing_passes
from hardware_profiles.profile import Calibration, MeasureProtocol, Timing, Validity
from nas.core.blocks import Block
from nas.core.types import FloatArray

REPEAT_SPEARMAN, REPEAT_DIFFERENCE = 0.94, 0.03  # a profile that misses these is invalid
THROTTLED = 1.05  # later passes longer than earlier ones by more than this: the machine slowed
HELD_OUT_WITHIN_10 = 0.98  # below this share a warning


def assess(vocabulary: Sequence[Block], nets: Sequence[Timing], measured: Measurement, *,
           protocol: MeasureProtocol, calibration: Calibration,
           remarks: Sequence[str] = ()) -> Validity:
    """Returns where a profile holds, and what to doubt in it.

    Args:
        vocabulary: The blocks measured; the first one takes the network's input.
        nets: The whole networks' timings.
        measured: All timings, these included.
        protocol: How they were taken.
        calibration: The fit and its held-out check.
        remarks: What else a reader should know, one line each.
    """
    halves = np.array([_halves(timing, protocol.tolerance) for timing in nets])
    spearman, difference = _repeat(halves[:, 0], halves[:, 1])
    passes = np.array([timing.pass_ms[:protocol.passes] for timing in nets]).T
    single = np.array([_repeat(a, b) for a, b in itertools.combinations(passes, 2)])
    valid = spearman >= REPEAT_SPEARMAN and difference <= REPEAT_DIFFERENCE
    unstable = sum(not timing.stable for timing in measured.timings.values())
    drifts = [drift(timing.pass_ms[:protocol.passes], min)
              for timing in measured.timings.values()]
    model_drift = float(np.median([one for one in drifts if one is not None]))
    clock_drift = drift(measured.clock_mhz, max)
    warnings = [*disturbances(wall_over_cpu=measured.wall_over_cpu, drift=model_drift,
                              clock_drift=clock_drift)]
    if not valid:
        warnings.insert(0, f"whole networks do not repeat: rank {spearman:.3f}, median difference "
                           f"{difference:.1%}; measure again on a quieter machine")
    if unstable:
        warnings.append(f"{unstable} of {len(measured.timings)} models did not settle within "
                        f"{protocol.max_passes} passes")
    held_out = calibration.held_out
    if held_out is not None and held_out.in10 < HELD_OUT_WITHIN_10:
        warnings.append(f"only {held_out.in10:.0%} of held-out networks are within 10 % of the "
                        "prediction")
    return Validity(
        input_shape=vocabulary[0].graph.inputs[0].shape,
        ops=tuple(sorted({node.kind for block in vocabulary for node in block.graph.nodes})),
        repeat_spearman=spearman, repeat_difference=difference,
        pass_spearman=np.median(single[:, 0]), pass_difference=np.median(single[:, 1]),
        wall_over_cpu=measured.wall_over_cpu, drift=model_drift,
        clock_drift=clock_drift, unstable=unstable, warnings=(*warnings, *remarks),
        valid=valid)


def disturbances(*, wall_over_cpu: float | None, drift: float | None,
                 clock_drift: float | None) -> tuple[str, ...]:
    """Returns what disturbed a measurement, one line each; see `Validity` for the arguments."""
    found = []
    if wall_over_cpu is not None and wall_over_cpu > CONTENDED:
        found.append(f"contended: the wall clock ran {wall_over_cpu:.2f} times as long as the CPU "
                     "clock")
    if drift is not None and drift > THROTTLED:
        found.append(f"throttled: later passes took {drift:.2f} times as long as earlier ones")
    if clock_drift is not None and clock_drift < 1 / THROTTLED:
        found.append(f"throttled: the clock fell to {clock_drift:.0%} while measuring")
    return tuple(found)


def doubts(validity: Validity) -> tuple[str, ...]:
    """Returns why a measurement should be made again, one line each; none if it can be trusted."""
    found = disturbances(wall_over_cpu=validity.wall_over_cpu, drift=validity.drift,
                         clock_drift=validity.clock_drift)
    return found if validity.valid else ("whole networks do not repeat", *found)


def _repeat(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    return rank_correlation(a, b), float(np.median(np.abs(a / b - 1.0)))


def _halves(timing: Timing, tolerance: float) -> tuple[float, float]:
    # Each half chooses its own passes: shared choosing would make the halves agree by design.
    minima: FloatArray = np.array(timing.pass_ms)
    first, second = (float(np.median(half[agreeing_passes(half, tolerance)]))
                     for half in (minima[::2], minima[1::2]))
    return first, second
