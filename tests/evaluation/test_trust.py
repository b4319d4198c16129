"""Rank correlation at equal cost, with its interval."""

import numpy as np
import pytest
from scipy import stats

from nas.evaluation.trust import MIN_PAIRS, measure_trust

NO_COSTS = np.empty((200, 0))


def test_without_costs_it_is_spearman_with_an_interval_around_it():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    scores = truth + rng.normal(size=200)
    found = measure_trust(scores, truth, NO_COSTS, confidence=0.9)
    assert found.spearman == pytest.approx(stats.spearmanr(scores, truth).statistic)
    assert found.at_equal_cost is None
    assert found.low < found.spearman < found.high


def test_a_score_that_only_follows_cost_has_no_rank_correlation_at_equal_cost():
    rng = np.random.default_rng(1)
    cost = rng.uniform(1, 2, size=200)
    truth, scores = cost + 0.1 * rng.normal(size=(2, 200))
    found = measure_trust(scores, truth, cost[:, None], confidence=0.9)
    assert found.spearman > 0.8
    assert abs(found.at_equal_cost) < 0.2
    assert found.low < 0


def test_what_tells_more_than_cost_is_seen_at_equal_cost():
    rng = np.random.default_rng(2)
    cost, quality = rng.uniform(1, 2, size=(2, 200))
    found = measure_trust(quality, cost + quality, cost[:, None], confidence=0.9)
    assert found.at_equal_cost > 0.9
    assert found.low > 0.8


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    true_rho = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's of a normal pair with r = 0.5
    inside = 0
    for _ in range(400):
        truth, noise = rng.normal(size=(2, 30))
        found = measure_trust(0.5 * truth + np.sqrt(0.75) * noise, truth, np.empty((30, 0)),
                              confidence=0.9)
        inside += found.low <= true_rho <= found.high
    assert 0.86 <= inside / 400 <= 0.94


@pytest.mark.parametrize("scores", [np.arange(MIN_PAIRS - 1.0), np.ones(50)])
def test_too_little_to_tell_is_none(scores):
    truth = np.arange(len(scores), dtype=float)
    assert measure_trust(scores, truth, np.empty((len(scores), 0)), confidence=0.9) is None


def test_perfect_agreement_keeps_a_finite_interval():
    line = np.arange(20.0)
    found = measure_trust(line, line, np.empty((20, 0)), confidence=0.9)
    assert found.spearman == pytest.approx(1.0)
    assert 0.99 < found.low <= found.high <= 1.0
