import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from nas.core.errors import InputError
from nas.core.types import FloatArray
from predictors.ranking.aggregate import (
    METHODS,
    aggregate,
    borda,
    consensus,
    consensus_weights,
    vote,
)


def noisy_views(noises: list[float], count: int = 300, seed: int = 0
                ) -> tuple[FloatArray, FloatArray]:
    """A hidden quality (N,), and one score of it a noise level (N, P)."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=count)
    return quality, np.stack([quality + noise * rng.normal(size=count) for noise in noises], axis=1)


def rho(a: FloatArray, b: FloatArray) -> float:
    return float(spearmanr(a, b).statistic)


@pytest.mark.parametrize("method", METHODS)
def test_monotone_maps_and_order_of_columns_change_nothing(method: str) -> None:
    _, scores = noisy_views([0.5, 1.0, 2.0])
    scores[:, 2] = np.round(scores[:, 2])  # with ties
    expected = METHODS[method](scores)
    mapped = np.column_stack([np.exp(scores[:, 1]), scores[:, 2] ** 3, 5 * scores[:, 0] - 80])
    assert METHODS[method](mapped) == pytest.approx(expected, abs=1e-9)
    turned = METHODS[method](scores[::-1])
    assert turned[::-1] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(column=arrays(np.float64, st.integers(3, 20), elements=st.integers(0, 9).map(float)))
def test_one_proxy_keeps_its_own_order(method: str, column: FloatArray) -> None:
    if np.ptp(column) == 0:
        return
    found = METHODS[method](column[:, None])
    assert rho(found, column) == pytest.approx(1.0)


@pytest.mark.parametrize("method", METHODS)
def test_equal_views_together_beat_each(method: str) -> None:
    quality, scores = noisy_views([1.0] * 5)
    alone = max(rho(scores[:, column], quality) for column in range(5))
    assert rho(METHODS[method](scores), quality) > alone + 0.03


@pytest.mark.parametrize("method", METHODS)
def test_constant_column_has_no_say_and_is_reported(method: str) -> None:
    _, scores = noisy_views([0.5, 1.0, 2.0])
    with_constant = np.insert(scores, 1, 7.0, axis=1)
    found = aggregate(with_constant, ("a", "flat", "b", "c"), method)
    assert found.skipped == ("flat",)
    # Up to ties that rounding breaks.
    assert rho(found.scores, METHODS[method](scores)) == pytest.approx(1.0, abs=1e-4)
    assert aggregate(scores, ("a", "b", "c"), method).skipped == ()


def test_vote_follows_the_majority_of_every_pair() -> None:
    # Two of three put a > b > c; the third puts c far above.
    scores = np.array([[3.0, 9.0, 0.0], [2.0, 8.0, 1.0], [1.0, 7.0, 100.0]])
    assert vote(scores).tolist() == [2.0, 0.0, -2.0]


def test_borda_is_the_mean_rank() -> None:
    scores = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 2.0]])
    # Ranks 3, 2, 1 and 1, 2.5, 2.5; as shares (r − ½) / 3.
    assert borda(scores) == pytest.approx([(2.0 - 0.5) / 3, (2.25 - 0.5) / 3, (1.75 - 0.5) / 3])


def test_consensus_silences_a_proxy_that_contradicts_the_others() -> None:
    quality, scores = noisy_views([0.7, 0.7, 0.7])
    against = np.column_stack([scores, -quality])
    weights = consensus_weights(against)
    assert weights[3] == 0
    assert weights.sum() == pytest.approx(1.0)
    assert rho(consensus(against), quality) > rho(borda(against), quality) + 0.05


def test_copies_of_a_proxy_share_one_say() -> None:
    _, scores = noisy_views([1.0, 1.0, 1.0])
    copies = np.column_stack([scores, scores[:, 0], scores[:, 0], scores[:, 0]])
    once, four = consensus_weights(scores), consensus_weights(copies)
    assert four[[0, 3, 4, 5]].sum() < 2 * once[0]


def test_consensus_is_low_where_one_proxy_is_very_low() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 1)) + 0.5 * rng.normal(size=(100, 3))
    scores[0], scores[1] = (9.0, 9.0, -9.0), (0.0, 0.0, 0.0)
    assert borda(scores)[0] > borda(scores)[1]
    assert consensus(scores)[0] < consensus(scores)[1]


def test_no_consensus_is_an_error() -> None:
    column = np.arange(5.0)
    with pytest.raises(InputError, match="no proxy agrees with the others"):
        consensus(np.column_stack([column, -column]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("scores", "message"), [
    (np.zeros((2, 2)), "at least 3 architectures, not 2"),
    (np.zeros(4), "shape"),
    (np.zeros((4, 0)), "P ≥ 1"),
    (np.ones((4, 2)), "every proxy gives all architectures one score"),
    (np.array([[1.0], [2.0], [math.inf]]), "proxy 0 of row 2 scores inf"),
])
def test_what_cannot_be_ranked_is_an_error(method: str, scores: FloatArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        METHODS[method](scores)


def test_unknown_method_and_names_that_do_not_fit_are_errors() -> None:
    scores = np.arange(6.0).reshape(3, 2)
    with pytest.raises(InputError, match="unknown aggregation 'mean'; known: borda, vote"):
        aggregate(scores, ("a", "b"), "mean")
    with pytest.raises(InputError, match="3 names do not fit"):
        aggregate(scores, ("a", "b", "c"), "borda")
