import numpy as np
import pytest
from scipy.stats import spearmanr

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.auto import DEFAULT, AutoSurrogate, held_out
from predictors.surrogate.calibration import coverage
from predictors.surrogate.choice import MEAN, combined, preferred, tau
from predictors.surrogate.ridge import Ridge
from predictors.surrogate.trees import boosting, forest

QUICK = {"ridge": Ridge, "boosting": boosting}


def linear(count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6))
    return x, x @ np.arange(6.0) + 0.5 * rng.normal(size=count)


def steps(count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(count, 4))
    return x, 4.0 * (np.abs(x[:, 0]) > 0.5) + x[:, 2] + 0.1 * rng.normal(size=count)


class Guess:
    """Knows nothing: the same of every row."""

    least_rows = 2

    def __init__(self, *, seed: int) -> None:
        del seed

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        del x, y

    def predict(self, x: FloatArray) -> Prediction:
        return Prediction(np.full(len(x), 0.0), np.ones(len(x)))


def test_chooses_the_linear_model_on_linear_data_and_not_on_steps() -> None:
    for data, expected, beaten in ((linear, "ridge", "boosting"), (steps, "boosting", "ridge")):
        auto = AutoSurrogate(seed=0, candidates=QUICK)
        auto.fit(*data(60))
        assert auto.chosen in ({expected} if data is linear else {expected, MEAN})
        assert auto.report[expected].tau > auto.report[beaten].tau + 0.1
        assert auto.report[expected].tau == max(found.tau for found in auto.report.values())


def test_mean_of_all_is_taken_where_no_model_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=200)
    alike = {name: Prediction(quality + rng.normal(size=200), np.ones(200)) for name in "ab"}
    together = alike | {MEAN: combined(list(alike.values()))}
    assert preferred(together, quality) == MEAN
    assert preferred(together | {"c": Prediction(quality, np.ones(200))}, quality) == "c"
    lone = {"a": alike["a"]}
    assert preferred(lone, quality) == "a"


def test_mixture_is_as_wide_as_its_parts_and_what_they_differ_by() -> None:
    parts = [Prediction(np.array([1.0, 5.0]), np.array([3.0, 0.5])),
             Prediction(np.array([1.0, 9.0]), np.array([4.0, 0.5]))]
    found = combined(parts)
    assert found.mean.tolist() == [1.0, 7.0]
    assert found.std == pytest.approx([np.sqrt(12.5), np.sqrt(0.25 + 4.0)])


def test_default_candidates_are_reported() -> None:
    x, y = linear(25)
    auto = AutoSurrogate(seed=0)
    auto.fit(x, y)
    assert tuple(auto.report) == (*DEFAULT, MEAN)
    assert spearmanr(auto.predict(x).mean, y).statistic > 0.9


@pytest.mark.parametrize("noise", [
    lambda rng, n: rng.normal(size=n), lambda rng, n: rng.standard_t(3, size=n),
    lambda rng, n: np.sign(rng.normal(size=n))])
def test_interval_covers_new_labels_whatever_the_noise(noise: object) -> None:
    covered, promised = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(560, 5))
        y = x[:, 0] + noise(rng, 560)  # type: ignore[operator]
        auto = AutoSurrogate(seed=seed, candidates={"ridge": Ridge})
        auto.fit(x[:60], y[:60])
        covered.append(coverage(auto.predict(x[60:]), y[60:]))
        promised.append(auto.report["ridge"].coverage90)
    assert 0.85 <= np.mean(covered) <= 0.96
    assert np.mean(promised) == pytest.approx(np.mean(covered), abs=0.05)


def test_calibration_mends_a_model_that_is_far_too_sure() -> None:
    class Sure(Ridge):
        def predict(self, x: FloatArray) -> Prediction:
            found = super().predict(x)
            return Prediction(found.mean, found.std / 100)

    x, y = linear(260)
    honest, sure = (AutoSurrogate(seed=0, candidates={"m": make}) for make in (Ridge, Sure))
    for auto in (honest, sure):
        auto.fit(x[:60], y[:60])
    assert sure.report["m"].scale == pytest.approx(100 * honest.report["m"].scale, rel=0.1)
    assert coverage(sure.predict(x[60:]), y[60:]) > 0.8


def test_model_that_needs_more_labels_than_a_fold_leaves_is_not_tried() -> None:
    x, y = linear(8)
    auto = AutoSurrogate(seed=0, candidates=QUICK)
    auto.fit(x, y)
    assert set(auto.report) == {"ridge"}


def test_model_that_ranks_nothing_loses() -> None:
    x, y = linear(30)
    assert tau(np.zeros(30), y) == 0.0
    auto = AutoSurrogate(seed=0, candidates={"guess": Guess, "ridge": Ridge})
    auto.fit(x, y)
    assert auto.report["guess"].tau < 0.1
    assert auto.chosen in ("ridge", MEAN)
    assert spearmanr(auto.predict(x).mean, y).statistic > 0.9


def test_many_rows_are_predicted_as_few() -> None:
    x, y = linear(20_000)
    auto = AutoSurrogate(seed=0, candidates={"ridge": Ridge})
    auto.fit(x[:30], y[:30])
    found = auto.predict(x)
    assert found.mean.shape == found.std.shape == (20_000,)
    assert found.mean[19_990:] == pytest.approx(auto.predict(x[19_990:]).mean)


def test_held_out_labels_are_not_seen() -> None:
    x, y = linear(20)
    fold = np.arange(20) % 5
    first = held_out(lambda: Ridge(seed=0), x, y, fold)
    changed = np.where(fold == 2, y + 1000.0, y)
    second = held_out(lambda: Ridge(seed=0), x, changed, fold)
    assert first.mean[fold == 2] == pytest.approx(second.mean[fold == 2])
    assert first.mean[fold == 1] != pytest.approx(second.mean[fold == 1])


def test_labels_that_differ_in_one_row_alone_are_no_error() -> None:
    x, _ = linear(12)
    y = (np.arange(12) == 3).astype(float)
    auto = AutoSurrogate(seed=0, candidates={"ridge": Ridge, "forest": forest})
    auto.fit(x, y)
    assert np.isfinite(auto.predict(x).std).all()


def test_standard_deviation_of_0_cannot_be_calibrated() -> None:
    class Certain(Guess):
        def predict(self, x: FloatArray) -> Prediction:
            return Prediction(x[:, 0], np.zeros(len(x)))

    with pytest.raises(InputError, match="standard deviation is not positive"):
        AutoSurrogate(seed=0, candidates={"certain": Certain}).fit(*linear(30))


def test_no_candidates_are_an_error() -> None:
    with pytest.raises(InputError, match="at least one candidate"):
        AutoSurrogate(seed=0, candidates={})
    with pytest.raises(InputError, match="none called 'mean'"):
        AutoSurrogate(seed=0, candidates={"mean": Ridge})
