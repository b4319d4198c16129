"""Expected hypervolume improvement against the definition: the mean gain of random outcomes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.pareto import hypervolume
from nas.core.types import FloatArray
from nas.search.improvement import expected_hypervolume_improvement, expected_improvement
from nas.search.picking import upper_fence


def gain(front: FloatArray, point: FloatArray, reference: FloatArray) -> float:
    return hypervolume(np.vstack([front, point]), reference) - hypervolume(front, reference)


def improvement(mean: FloatArray, std: FloatArray, front: FloatArray,
                reference: FloatArray) -> FloatArray:
    return expected_hypervolume_improvement(mean, std, front, reference, np.random.default_rng(0))


def test_improvement_of_a_normal_variable_is_its_mean_gain() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.5, 400_000)
    found = expected_improvement(np.array(1.0), np.array(0.5), np.array(1.2))
    assert found == pytest.approx(np.maximum(1.2 - draws, 0).mean(), rel=0.01)
    assert expected_improvement(np.array(1.0), np.array(0.0), np.array(1.2)) == pytest.approx(0.2)


@given(seed=st.integers(0, 10_000), objectives=st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_a_known_candidate_gains_what_it_adds(seed: int, objectives: int) -> None:
    rng = np.random.default_rng(seed)
    front, point = rng.random((6, objectives)), rng.random((1, objectives)) * 1.2
    reference = np.full(objectives, 0.9)
    found = improvement(point, np.zeros_like(point), front, reference)
    assert found[0] == pytest.approx(gain(front, point, reference), abs=1e-12)


@pytest.mark.parametrize("known", [False, True])
def test_two_objectives_are_exact(known: bool) -> None:
    rng = np.random.default_rng(1)
    front, mean = rng.random((5, 2)), rng.random((3, 2))
    std = np.array([[0.2, 0.0 if known else 0.1]] * 3)
    reference = np.array([1.1, 1.0])
    drawn = mean[:, None] + std[:, None] * rng.standard_normal((3, 20_000, 2))
    expected = [np.mean([gain(front, point, reference) for point in points]) for points in drawn]
    np.testing.assert_allclose(improvement(mean, std, front, reference), expected, rtol=0.05)


def test_three_objectives_rank_as_their_hypervolume() -> None:
    rng = np.random.default_rng(2)
    front, mean = rng.random((8, 3)), rng.random((60, 3)) * 0.8
    reference = np.ones(3)
    gains = np.array([gain(front, point, reference) for point in mean])
    found = improvement(mean, np.zeros_like(mean), front, reference)
    assert np.corrcoef(gains, found)[0, 1] > 0.9
    assert (found[gains > 0.02] > 0).all()


def test_nothing_found_yet_leaves_all_of_the_box() -> None:
    found = improvement(np.array([[0.25, 0.5]]), np.zeros((1, 2)), np.empty((0, 2)), np.ones(2))
    assert found[0] == pytest.approx(0.75 * 0.5)


def test_outliers_are_behind_the_fence() -> None:
    values = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])
    assert upper_fence(values)[0] == pytest.approx(4.0 + 1.5 * 2.0)
    assert upper_fence(values[:4])[0] == 4.0
