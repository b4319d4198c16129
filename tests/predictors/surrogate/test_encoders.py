from collections.abc import Mapping

import numpy as np
import pytest

from nas.core.costs import Estimate
from nas.core.errors import InputError
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.types import FloatArray, IntArray
from predictors.surrogate.columns import RankColumns, RobustColumns, columns_of
from predictors.surrogate.encoders import Concatenated, LogCosts, OneHot, Ordinal, ProxyColumns

SPACE = GeneSpace("toy/1", (
    Gene("depth", (1, 2, 3)), Gene("op", ("only",)),
    Gene("kernel", (3, 5, 7), Condition("depth", (2, 3)))))
CODES = SPACE.encode(SPACE.decode(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 2]], dtype=np.int16)))


class Costs:
    metrics: Mapping[str, str] = {"size": "1"}

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        del metric
        value = 10.0 ** codes[:, 0] - 1.0
        return Estimate(value, value, value, "exact")

    def block_table(self, metric: str) -> FloatArray | None:
        del metric
        return None


def test_one_hot_is_what_the_space_gives() -> None:
    assert (OneHot(SPACE)(CODES) == SPACE.features(CODES)).all()


def test_ordinal_scales_choices_and_marks_dead_genes() -> None:
    # depth, op, kernel, and whether kernel lives: a dead kernel differs from a live smallest one.
    assert Ordinal(SPACE)(CODES).tolist() == [
        [0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]]


def test_encoders_do_not_look_at_other_rows() -> None:
    codes = SPACE.sample_codes(50, np.random.default_rng(0))
    reference = np.random.default_rng(1).normal(size=(30, 1))
    encoder = Concatenated((
        OneHot(SPACE), Ordinal(SPACE),
        ProxyColumns(lambda codes: codes[:, :1] - 0.5, RankColumns.of(reference)),
        ProxyColumns(lambda codes: codes[:, :1] - 0.5, RobustColumns.of(reference))))
    whole = encoder(codes)
    assert whole.shape == (50, 9 + 4 + 1 + 1)  # one-hot 7, and 2 genes as numbers
    assert (np.concatenate([encoder(codes[row:row + 1]) for row in range(50)]) == whole).all()


def test_costs_enter_as_logarithms() -> None:
    found = LogCosts(Costs(), ("size",))(CODES[1:])
    assert found[:, 0].tolist() == pytest.approx([np.log(9.0), np.log(99.0)])
    with pytest.raises(InputError, match="size of row 0 is 0, which has no logarithm"):
        LogCosts(Costs(), ("size",))(CODES)


def test_normal_scores_are_of_the_rank_alone() -> None:
    reference = np.random.default_rng(0).normal(size=(99, 2))
    columns = RankColumns.of(reference)
    found = columns(reference)
    assert found.std(axis=0) == pytest.approx([1, 1], abs=0.05)
    assert np.sort(columns.shares(reference)[:, 0]) == pytest.approx(np.arange(1, 100) / 100)
    assert RankColumns.of(np.exp(reference))(np.exp(reference)) == pytest.approx(found)


def test_values_beyond_the_reference_and_between_it_keep_their_order() -> None:
    columns = RankColumns.of(np.array([[1.0], [2.0], [2.0], [3.0]]))
    values = np.array([[0.0], [1.0], [1.5], [2.0], [2.5], [3.0], [4.0]])
    shares = columns.shares(values)[:, 0]
    assert (np.diff(shares) > 0).all()
    assert shares[0] > 0
    assert shares[-1] < 1
    assert shares[3] == 0.5  # the middle of those it ties with


def test_robust_columns_are_not_moved_by_an_outlier() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=(201, 1))
    values[0] = -1e8
    found = RobustColumns.of(values)(values)[1:]
    assert np.median(found) == pytest.approx(0.0, abs=0.05)
    assert found.std() == pytest.approx(1.0, abs=0.15)


def test_column_of_mostly_one_value_still_has_a_spread() -> None:
    values = np.array([[0.0]] * 9 + [[5.0]])
    assert RobustColumns.of(values)(values)[9, 0] == pytest.approx(5.0 / values.std())


def test_scale_by_name() -> None:
    reference = np.arange(5.0)[:, None]
    assert isinstance(columns_of(reference, "rank"), RankColumns)
    assert isinstance(columns_of(reference, "robust"), RobustColumns)


def test_scores_that_say_nothing_are_errors() -> None:
    with pytest.raises(InputError, match="score column 1 is constant"):
        RobustColumns.of(np.array([[1.0, 2.0], [2.0, 2.0]]))
    with pytest.raises(InputError, match="score column 0 of row 1 is nan"):
        RankColumns.of(np.array([[1.0], [np.nan]]))
    with pytest.raises(InputError, match="N ≥ 1"):
        RankColumns.of(np.empty((0, 2)))
    with pytest.raises(InputError, match="score column 0 of row 0 is inf"):
        RankColumns.of(np.array([[1.0], [2.0]]))(np.array([[np.inf]]))
