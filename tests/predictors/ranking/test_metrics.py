import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, spearmanr

from nas.core.errors import InputError
from nas.core.types import FloatArray
from predictors.ranking.bootstrap import bootstrapped
from predictors.ranking.metrics import kendall, regret_at_k, spearman, top_k_recall

FEW = 20  # resamples, where only the value is looked at
CORRELATIONS = {"spearman": (spearman, spearmanr), "kendall": (kendall, kendalltau)}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def tied_pairs(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    # Few distinct values, so that ties are common.
    count = draw(st.integers(3, 12))
    columns = arrays(np.float64, count, elements=st.integers(0, 4).map(float)).filter(
        lambda column: np.ptp(column) > 0)
    return draw(columns), draw(columns)


@pytest.mark.parametrize("name", CORRELATIONS)
@given(pair=tied_pairs())
def test_correlations_agree_with_scipy(name: str, pair: tuple[FloatArray, FloatArray]) -> None:
    ours, reference = CORRELATIONS[name]
    found = ours(*pair, rng=rng(), resamples=FEW)
    assert found.value == pytest.approx(reference(*pair).statistic, abs=1e-12)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_interval_is_that_of_resampled_rows(name: str) -> None:
    ours, reference = CORRELATIONS[name]
    a = rng(1).integers(0, 15, 40).astype(float)
    b = a + rng(2).integers(0, 10, 40)
    found = ours(a, b, rng=rng(3), resamples=300, level=0.8)
    drawn = rng(3).integers(40, size=(300, 40))
    values = [reference(a[rows], b[rows]).statistic for rows in drawn]
    assert (found.low, found.high) == pytest.approx(np.quantile(values, (0.1, 0.9)), abs=1e-12)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", [
    spearman, kendall,
    lambda a, b, **options: top_k_recall(a, b, 5, **options),
    lambda a, b, **options: regret_at_k(a, b, 5, **options)])
def test_monotone_maps_of_scores_change_nothing(metric: object) -> None:
    a = rng(1).integers(0, 30, 60).astype(float)
    b = rng(2).normal(size=60) + a / 10
    expected = metric(a, b, rng=rng(), resamples=50)  # type: ignore[operator]
    mapped = metric(np.exp(a / 5) - 7, b, rng=rng(), resamples=50)  # type: ignore[operator]
    assert mapped == expected
    shuffled = rng(3).permutation(60)
    again = metric(a[shuffled], b[shuffled], rng=rng(), resamples=50)  # type: ignore[operator]
    assert again.value == pytest.approx(expected.value, abs=1e-12)


def test_interval_covers_the_true_correlation_as_often_as_it_says() -> None:
    rho = 0.6
    expected = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's ρ of a bivariate normal
    draws, hits = rng(5), 0
    for _ in range(200):
        a = draws.normal(size=60)
        b = rho * a + np.sqrt(1 - rho**2) * draws.normal(size=60)
        found = spearman(a, b, rng=draws, resamples=200, level=0.9)
        hits += found.low <= expected <= found.high
    assert 0.82 <= hits / 200 <= 0.96


def test_recall_and_regret_of_a_hand_checked_set() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    scores = np.array([5.0, 1.0, 4.0, 3.0, 2.0])  # its two best are 1 and 3 in truth
    assert top_k_recall(scores, truth, 2, rng=rng(), resamples=FEW).value == 0.0
    assert regret_at_k(scores, truth, 2, rng=rng(), resamples=FEW).value == 2.0
    assert top_k_recall(scores, truth, 3, rng=rng(), resamples=FEW).value == pytest.approx(2 / 3)
    assert regret_at_k(scores, truth, 3, rng=rng(), resamples=FEW).value == 1.0


def test_truths_that_tie_at_the_kth_place_are_all_among_the_best() -> None:
    truth = np.array([1.0, 4.0, 4.0, 4.0])
    found = top_k_recall(np.array([0.0, 1.0, 3.0, 2.0]), truth, 2, rng=rng(), resamples=FEW)
    assert found.value == 1.0


@settings(max_examples=30)
@given(pair=tied_pairs(), k=st.integers(1, 3))
def test_tied_scores_count_as_the_mean_over_their_orders(
        pair: tuple[FloatArray, FloatArray], k: int) -> None:
    scores, truth = (column[:6] for column in pair)
    if np.ptp(scores) == 0 or np.ptp(truth) == 0:
        return
    bar = np.sort(truth)[-k]
    recalls, regrets = [], []
    for order in itertools.permutations(range(len(scores))):
        chosen = truth[sorted(order, key=lambda row: -scores[row])[:k]]
        recalls.append((chosen >= bar).mean())
        regrets.append(truth.max() - chosen.max())
    recall = top_k_recall(scores, truth, k, rng=rng(), resamples=FEW)
    regret = regret_at_k(scores, truth, k, rng=rng(), resamples=FEW)
    assert recall.value == pytest.approx(np.mean(recalls), abs=1e-9)
    assert regret.value == pytest.approx(np.mean(regrets), abs=1e-9)


@given(pair=tied_pairs())
def test_recall_and_regret_stay_in_bounds(pair: tuple[FloatArray, FloatArray]) -> None:
    scores, truth = pair
    recall = top_k_recall(scores, truth, 2, rng=rng(), resamples=FEW)
    regret = regret_at_k(scores, truth, 2, rng=rng(), resamples=FEW)
    assert 0 <= recall.low <= recall.high <= 1 + 1e-12
    assert 0 <= regret.low <= regret.high <= np.ptp(truth)
    assert top_k_recall(truth, truth, 2, rng=rng(), resamples=FEW).value == pytest.approx(1.0)
    assert regret_at_k(truth, truth, 2, rng=rng(), resamples=FEW).value == 0.0


def test_a_thousand_resamples_of_a_thousand_points_are_quick() -> None:
    a = rng(1).normal(size=1000)
    b = a + rng(2).normal(size=1000)
    started = time.process_time()
    for found in (spearman(a, b, rng=rng()), kendall(a, b, rng=rng()),
                  top_k_recall(a, b, 10, rng=rng()), regret_at_k(a, b, 10, rng=rng())):
        assert found.low <= found.value <= found.high
    assert time.process_time() - started < 8.0  # four metrics of 2 s


@pytest.mark.parametrize(("scores", "truth", "message"), [
    ([1, 2], [1, 2], "at least 3 architectures, not 2"),
    ([1, 2, 3], [1, 2], "equally many numbers"),
    ([4, 4, 4], [1, 2, 3], "every score is 4, which ranks nothing"),
    ([1, 2, 3], [4, 4, 4], "every truth is 4, which ranks nothing"),
    ([1, math.nan, 3], [1, 2, 3], "score of row 1 is nan"),
    ([1, 2, 3], [1, 2, -math.inf], "truth of row 2 is -inf"),
])
def test_what_ranks_nothing_is_an_error(scores: list[float], truth: list[float],
                                        message: str) -> None:
    a, b = np.array(scores, dtype=float), np.array(truth, dtype=float)
    for metric in (spearman, kendall):
        with pytest.raises(InputError, match=message):
            metric(a, b, rng=rng())
    with pytest.raises(InputError, match=message):
        top_k_recall(a, b, 1, rng=rng())
    with pytest.raises(InputError, match=message):
        regret_at_k(a, b, 1, rng=rng())


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_the_architectures_is_an_error(k: int) -> None:
    three = np.arange(3.0)
    for metric in (top_k_recall, regret_at_k):
        with pytest.raises(InputError, match=f"k = {k} is outside 1 … 3"):
            metric(three, three, k, rng=rng())


def test_options_of_the_bootstrap_are_checked() -> None:
    three = np.arange(3.0)
    with pytest.raises(InputError, match="at least 1 resample, not 0"):
        spearman(three, three, rng=rng(), resamples=0)
    with pytest.raises(InputError, match=r"level 1\.0 is outside 0 … 1"):
        spearman(three, three, rng=rng(), level=1.0)


def test_statistic_without_any_value_is_an_error() -> None:
    with pytest.raises(InputError, match="none of 5 resamples of 3 architectures"):
        bootstrapped(lambda counts: np.full(len(counts), np.nan), 3, rng=rng(), resamples=5,
                     level=0.9)
