"""The surrogate of searches: which model it takes, and when it asks again."""

import numpy as np
import pytest

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.projected_process import ProjectedProcess
from predictors.surrogate.rechosen import RechosenSurrogate
from predictors.surrogate.ridge import Ridge


def data(rows: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    x = rng.random((rows, 5))
    return x, np.sin(6 * x[:, 0]) + x[:, 1]


class Useless:
    """Predicts the mean; counts its fits."""

    least_rows = 4
    fits = 0

    def __init__(self, *, seed: int) -> None:
        del seed

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        del x
        Useless.fits += 1
        self._mean, self._std = y.mean(), y.std()

    def predict(self, x: FloatArray) -> Prediction:
        return Prediction(np.full(len(x), self._mean), np.full(len(x), self._std))


def test_takes_what_ranks_clearly_better_and_asks_again_when_labels_have_doubled() -> None:
    surrogate = RechosenSurrogate(
        seed=0, candidates={"useless": Useless, "gp": ProjectedProcess})
    Useless.fits = 0
    counts = []
    for rows in (40, 50, 79, 80, 100):
        surrogate.fit(*data(rows))
        assert surrogate.chosen == "gp"
        counts.append(Useless.fits)
    assert counts == [5, 5, 5, 10, 10]
    x, y = data(200)
    found = surrogate.predict(x[100:])
    assert np.corrcoef(found.mean, y[100:])[0, 1] > 0.95


def test_few_labels_leave_out_models_that_need_more() -> None:
    class Demanding(Useless):
        least_rows = 12

    surrogate = RechosenSurrogate(seed=0, candidates={"ridge": Ridge, "demanding": Demanding})
    surrogate.fit(*data(10))
    assert surrogate.chosen == "ridge"
    assert surrogate.least_rows == 1 + Ridge(seed=0).least_rows


def test_equal_series_of_fits_give_equal_predictions() -> None:
    x, _ = data(100)
    found = []
    for _ in range(2):
        surrogate = RechosenSurrogate(seed=3)
        for rows in (16, 20, 40):
            surrogate.fit(*data(rows))
        found.append(surrogate.predict(x))
    np.testing.assert_array_equal(found[0].mean, found[1].mean)
    np.testing.assert_array_equal(found[0].std, found[1].std)


def test_bad_use_is_one_line() -> None:
    with pytest.raises(InputError, match="at least one candidate"):
        RechosenSurrogate(seed=0, candidates={})
    with pytest.raises(InputError, match="call fit before predict"):
        RechosenSurrogate(seed=0).predict(np.ones((1, 2)))
    with pytest.raises(InputError, match="needs at least 5 labels"):
        RechosenSurrogate(seed=0).fit(*data(4))
