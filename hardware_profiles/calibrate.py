"""From times of isolated blocks to times of whole networks, and how well that holds.

Isolated blocks miss hot caches and what is fused or reordered across their borders, and each
carries the cost of a run of its own. A fit on whole networks puts that right:
latency = a · Σ(block − empty) + b · blocks + c.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from hardware_profiles.features import BLOCKS, OWN_MS
from hardware_profiles.profile import CONSTANT, Calibration, Quality
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

MIN_NETS = 4  # one more than there are coefficients
INTERVAL = (0.05, 0.95)  # quantiles of measured / predicted


def calibrate(*, block_ms: FloatArray, block_macs: FloatArray, empty_ms: float,
              calib: tuple[IntArray, FloatArray], test: tuple[IntArray, FloatArray]) -> Calibration:
    """Fits the map on some networks and checks it on others.

    Args:
        block_ms: Isolated time of each vocabulary block, (blocks,).
        block_macs: Its multiply-adds, (blocks,).
        empty_ms: The time of an empty graph.
        calib: Block ids (N, slots), −1 where empty, and measured ms (N,) of the networks to fit.
        test: The same of those held out.

    Raises:
        ProfileError: Fewer than `MIN_NETS` networks in either part, or a fit that makes no sense.
    """
    if min(len(calib[1]), len(test[1])) < MIN_NETS:
        raise ProfileError(f"calibration needs at least {MIN_NETS} networks to fit on and as many "
                           f"held out, not {len(calib[1])} and {len(test[1])}")

    def own_time(ids: IntArray) -> FloatArray:
        sums = block_sums(block_ms - empty_ms, ids)
        return np.stack([sums, (ids >= 0).sum(axis=1), np.ones(len(ids))], axis=1)

    def macs(ids: IntArray) -> FloatArray:
        return block_sums(block_macs, ids)[:, None]

    fit = relative_least_squares(own_time(calib[0]), calib[1])
    predicted = own_time(test[0]) @ fit
    if predicted.min() <= 0:
        raise ProfileError("the calibration predicts a latency that is not positive; measure again "
                           "on a quieter machine or with more networks")
    low, high = np.quantile(test[1] / predicted, INTERVAL)
    return Calibration(
        model="affine_blocks", coefficients={OWN_MS: fit[0], BLOCKS: fit[1], CONSTANT: fit[2]},
        empty_ms=empty_ms, calib_count=len(calib[1]), test_count=len(test[1]),
        held_out=quality(predicted, test[1]),
        lower_ratio=low, upper_ratio=high,
        baselines={"block_sum": quality(block_sums(block_ms, test[0]), test[1]),
                   "macs": _fitted_quality(macs, calib, test)})


def relative_least_squares(features: FloatArray, latency_ms: FloatArray) -> FloatArray:
    """Returns the coefficients (F,) that minimise Σ(features·k / latency − 1)².

    Columns that say the same (a space of one depth) share their coefficient: least norm.
    """
    weighted = features / latency_ms[:, None]
    return np.asarray(np.linalg.lstsq(weighted, np.ones(len(latency_ms)), rcond=None)[0])


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


def _fitted_quality(features: Callable[[IntArray], FloatArray], calib: tuple[IntArray, FloatArray],
                    test: tuple[IntArray, FloatArray]) -> Quality:
    fit = relative_least_squares(features(calib[0]), calib[1])
    return quality(features(test[0]) @ fit, test[1])
