"""From times of isolated blocks to times of whole networks, and how well that holds.

Isolated blocks miss hot caches and what is fused or reordered across their borders, and each
carries the cost of a run of its own. A fit on whole networks puts that right, in the simplest
of `hardware_profiles.candidates` that does it well: affine in the sum of the blocks, unless
cross-validation finds another form clearly better.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import spearmanr

from hardware_profiles.candidates import CANDIDATES, Candidate, Features, relative_least_squares
from hardware_profiles.features import BLOCKS, OWN_MS
from hardware_profiles.profile import Calibration, Quality
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

MIN_NETS = 4  # one more than there are coefficients
FOLDS = 5
CLEARLY = 0.85  # times the error of a simpler model: so much better must a later candidate be
INTERVAL = (0.05, 0.95)  # quantiles of measured / predicted


def calibrate(*, block_ms: FloatArray, block_macs: FloatArray, empty_ms: float,
              calib: tuple[IntArray, FloatArray], test: tuple[IntArray, FloatArray],
              features: Mapping[str, FloatArray] | None = None) -> Calibration:
    """Fits the map on some networks and checks it on others, which choose nothing.

    Args:
        block_ms: Isolated time of each vocabulary block, (blocks,).
        block_macs: Its multiply-adds, (blocks,).
        empty_ms: The time of an empty graph.
        calib: Block ids (N, slots), −1 where empty, and measured ms (N,) of the networks to fit.
        test: The same of those held out.
        features: What else is known of each vocabulary block, by name, (blocks,) each; see
            `hardware_profiles.features`. Without, the map is affine in the blocks' own time.

    Raises:
        ProfileError: Fewer than `MIN_NETS` networks in either part, or a fit that makes no sense.
    """
    if min(len(calib[1]), len(test[1])) < MIN_NETS:
        raise ProfileError(f"calibration needs at least {MIN_NETS} networks to fit on and as many "
                           f"held out, not {len(calib[1])} and {len(test[1])}")

    known = {OWN_MS: block_ms - empty_ms, BLOCKS: np.ones(len(block_ms)), **(features or {})}

    def of_networks(ids: IntArray) -> dict[str, FloatArray]:
        return {name: block_sums(values, ids) for name, values in known.items()}

    fitted_on = of_networks(calib[0])
    candidates = [one for one in CANDIDATES if features or one is CANDIDATES[0]]
    validated = cross_validate(candidates, fitted_on, calib[1])
    chosen = choose(candidates, validated)
    fit = chosen.fit(fitted_on, calib[1])
    predicted = fit.predict(of_networks(test[0]))
    if predicted.min() <= 0:
        raise ProfileError("the calibration predicts a latency that is not positive; measure again "
                           "on a quieter machine or with more networks")
    low, high = np.quantile(test[1] / predicted, INTERVAL)
    block_sum, net_macs = (block_sums(values, test[0]) for values in (block_ms, block_macs))
    factor = relative_least_squares(block_sums(block_macs, calib[0])[:, None], calib[1])[0]
    return Calibration(
        model=chosen.name, coefficients=dict(fit.coefficients), steps=dict(fit.steps),
        empty_ms=empty_ms, calib_count=len(calib[1]), test_count=len(test[1]),
        held_out=quality(predicted, test[1]), lower_ratio=low, upper_ratio=high,
        baselines={"block_sum": quality(block_sum, test[1]),
                   "macs": quality(factor * net_macs, test[1])},
        cross_validation=validated)


def cross_validate(candidates: Sequence[Candidate], features: Features,
                   latency_ms: FloatArray) -> dict[str, Quality]:
    """Returns how well each candidate predicts networks that it was not fitted on.

    Every network is predicted once, by a fit on the other folds. Candidates that need more
    networks, or that predict a latency that is not positive, are absent.
    """
    count = len(latency_ms)
    fold = np.arange(count) % min(FOLDS, count)
    found = {}
    for candidate in candidates:
        if count < candidate.min_nets:
            continue
        predicted = np.empty(count)
        for held in range(int(fold.max()) + 1):
            out = fold == held
            fit = candidate.fit({name: values[~out] for name, values in features.items()},
                                latency_ms[~out])
            predicted[out] = fit.predict({name: values[out] for name, values in features.items()})
        if predicted.min() > 0:
            found[candidate.name] = quality(predicted, latency_ms)
    return found


def choose(candidates: Sequence[Candidate], validated: Mapping[str, Quality]) -> Candidate:
    """Returns the first candidate, unless a later one is `CLEARLY` better in cross-validation.

    A small gain is not worth a form that knows less of the device.
    """
    chosen = candidates[0]
    for candidate in candidates[1:]:
        if candidate.name not in validated:
            continue
        before = validated.get(chosen.name)
        if before is None or validated[candidate.name].mape < CLEARLY * before.mape:
            chosen = candidate
    return chosen


def block_sums(table: FloatArray, ids: IntArray) -> FloatArray:
    """Returns the sum of a per-block table over the blocks of each network, (N,)."""
    return np.asarray(np.append(table, 0.0)[ids].sum(axis=1))


def quality(predicted: FloatArray, measured: FloatArray) -> Quality:
    """Returns how well predictions (N,) meet measurements (N,), both in ms."""
    error = predicted / measured - 1.0
    return Quality(mape=np.abs(error).mean(), bias=error.mean(),
                   in5=(np.abs(error) <= 0.05).mean(), in10=(np.abs(error) <= 0.10).mean(),
                   spearman=rank_correlation(predicted, measured))


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Returns Spearman's coefficient.

    Raises:
        ProfileError: One side is constant, so there is nothing to rank.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ProfileError("all networks cost the same, so a profile cannot be checked; give a "
                           "space whose networks differ in latency")
    return float(spearmanr(a, b).statistic)
