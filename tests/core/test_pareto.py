import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.core.errors import EvaluationError, InputError
from nas.core.pareto import crowding_distance, hypervolume, non_dominated, sort_fronts


@st.composite
def point_sets(draw: st.DrawFn, most: int = 30, objectives: int = 5) -> np.ndarray:
    # Few distinct values, so that ties and repeats are common.
    shape = draw(st.integers(1, most)), draw(st.integers(1, objectives))
    return draw(arrays(np.float64, shape, elements=st.integers(0, 6).map(float)))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def test_fronts_of_a_hand_checked_set() -> None:
    values = np.array([[1, 5], [2, 3], [4, 1], [3, 4], [5, 5], [2, 3], [4, 2]], dtype=float)
    assert [front.tolist() for front in sort_fronts(values)] == [[0, 1, 2, 5], [3, 6], [4]]
    assert non_dominated(values).tolist() == [True, True, True, False, False, True, False]


def test_crowding_of_a_hand_checked_front() -> None:
    values = np.array([[0, 8], [1, 4], [3, 2], [4, 0]], dtype=float)
    # Neighbours' gaps over the ranges 4 and 8: (3−0)/4 + (8−2)/8 and (4−1)/4 + (4−0)/8.
    assert crowding_distance(values).tolist() == [np.inf, 1.5, 1.25, np.inf]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_point_of_a_front_of_two_is_an_extreme(count: int) -> None:
    assert crowding_distance(np.arange(2.0 * count).reshape(count, 2)).tolist() == [np.inf] * count


def test_objective_in_which_all_agree_adds_no_crowding() -> None:
    values = np.array([[0, 8], [1, 4], [3, 2], [4, 0]], dtype=float)
    assert crowding_distance(np.insert(values, 1, 7.0, axis=1)).tolist() == crowding_distance(
        values).tolist()


def test_crowding_agrees_with_pymoo() -> None:
    values = np.random.default_rng(0).random((40, 3))
    # pymoo takes the mean over objectives, the paper and this the sum.
    np.testing.assert_allclose(crowding_distance(values), 3 * calc_crowding_distance(values))


@given(point_sets())
def test_fronts_are_mutually_non_dominated_and_each_is_dominated_by_the_last(
        values: np.ndarray) -> None:
    fronts = sort_fronts(values)
    assert sorted(np.concatenate(fronts).tolist()) == list(range(len(values)))
    for front in fronts:
        assert not any(dominates(values[a], values[b]) for a in front for b in front)
    for better, worse in itertools.pairwise(fronts):
        assert all(any(dominates(values[a], values[b]) for a in better) for b in worse)


@given(point_sets())
def test_non_dominated_is_the_first_front(values: np.ndarray) -> None:
    assert np.flatnonzero(non_dominated(values)).tolist() == sort_fronts(values)[0].tolist()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_fronts_agree_with_pymoo(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for values in (rng.random((500, objectives)), rng.integers(0, 9, (500, objectives)) * 1.0):
        expected = NonDominatedSorting().do(values)
        found = sort_fronts(values)
        assert [sorted(f) for f in expected] == [f.tolist() for f in found]


def test_no_points_have_no_fronts() -> None:
    empty = np.empty((0, 2))
    assert sort_fronts(empty) == []
    assert non_dominated(empty).shape == (0,)
    assert hypervolume(empty, np.ones(2)) == 0.0


@given(point_sets(most=12))
@settings(deadline=None)
def test_hypervolume_agrees_with_pymoo(values: np.ndarray) -> None:
    reference = np.full(values.shape[1], 5.0)
    expected = HV(ref_point=reference)(values) if values.shape[1] > 1 else max(
        0.0, 5.0 - values.min())
    assert hypervolume(values, reference) == pytest.approx(expected)


def test_hypervolume_of_a_hand_checked_set() -> None:
    values = np.array([[1, 3], [2, 2], [3, 3], [5, 0]], dtype=float)
    assert hypervolume(values, np.array([4.0, 4.0])) == 3 + 2
    assert hypervolume(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, -1.0]]), np.full(3, 2.0)) == 8 + 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_value_that_is_not_finite_is_an_error(bad: float) -> None:
    values = np.array([[0.0, 1.0], [bad, 0.0]])
    for function in (non_dominated, sort_fronts, crowding_distance):
        with pytest.raises(EvaluationError, match="point 1 are not finite"):
            function(values)
    with pytest.raises(EvaluationError, match="point 1 are not finite"):
        hypervolume(values, np.ones(2))


def test_reference_of_another_size_is_an_error() -> None:
    with pytest.raises(InputError, match="must be 2 finite numbers"):
        hypervolume(np.zeros((1, 2)), np.ones(3))
    with pytest.raises(InputError, match="shape"):
        non_dominated(np.zeros(3))
