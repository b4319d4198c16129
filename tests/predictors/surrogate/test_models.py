import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nas.core.errors import InputError
from nas.core.types import FloatArray
from predictors.surrogate.calibration import coverage
from predictors.surrogate.gaussian_process import GaussianProcess
from predictors.surrogate.model import Standardiser, Surrogate
from predictors.surrogate.registry import SURROGATES

ALL = [entry.name for entry in SURROGATES.builtin]
MODELS = [name for name in ALL if name != "auto"]


def make(name: str, seed: int = 0) -> Surrogate:
    surrogate: Surrogate = SURROGATES.get(name).resolve()(seed=seed)
    return surrogate


def one_hot_data(count: int, noise: float, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Six genes of four choices, additive effects, normal noise: (N, 24) and (N,)."""
    rng = np.random.default_rng(seed)
    effects = np.random.default_rng(99).normal(size=(6, 4))
    codes = rng.integers(4, size=(count, 6))
    x = (codes[:, :, None] == np.arange(4)).reshape(count, -1).astype(float)
    y = effects[np.arange(6), codes].sum(axis=1) + noise * rng.normal(size=count)
    return x, 80.0 + 3.0 * y


@pytest.mark.parametrize("name", MODELS)
def test_learns_a_noisy_sum_of_genes(name: str) -> None:
    x, y = one_hot_data(200, noise=0.5)
    surrogate = make(name)
    surrogate.fit(x[:100], y[:100])
    found = surrogate.predict(x[100:])
    assert found.mean.shape == found.std.shape == (100,)
    assert (found.std > 0).all()
    assert spearmanr(found.mean, y[100:]).statistic > 0.75
    assert 0.8 <= coverage(found, y[100:]) <= 1.0


@pytest.mark.parametrize("name", MODELS)
def test_fewer_labels_than_features_are_enough(name: str) -> None:
    x, y = one_hot_data(100, noise=0.1)
    surrogate = make(name)
    surrogate.fit(x[:20], y[:20])
    assert spearmanr(surrogate.predict(x[20:]).mean, y[20:]).statistic > 0.3


@pytest.mark.parametrize("name", MODELS)
def test_unit_of_the_labels_does_not_matter(name: str) -> None:
    x, y = one_hot_data(60, noise=0.5)
    first, second = make(name), make(name)
    first.fit(x, y)
    second.fit(x, 1024.0 * y)  # a power of two, so that trees see the same ties
    a, b = first.predict(x), second.predict(x)
    assert b.mean == pytest.approx(1024.0 * a.mean, rel=1e-4)
    assert b.std == pytest.approx(1024.0 * a.std, rel=1e-2)


@pytest.mark.parametrize("name", MODELS)
def test_equal_seeds_give_equal_predictions_and_no_global_state_moves(name: str) -> None:
    x, y = one_hot_data(40, noise=0.5)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    predictions = []
    for _ in range(2):
        surrogate = make(name, seed=2**63 - 5)
        surrogate.fit(x[20:], y[20:])  # what was learnt before must leave no trace
        surrogate.fit(x, y)
        predictions.append(surrogate.predict(x))
    assert (predictions[0].mean == predictions[1].mean).all()
    assert (predictions[0].std == predictions[1].std).all()
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("name", MODELS)
def test_a_constant_feature_and_a_repeated_row_do_no_harm(name: str) -> None:
    x, y = one_hot_data(40, noise=0.5)
    x = np.insert(np.concatenate([x, x[:5]]), 3, 0.1, axis=1)
    surrogate = make(name)
    surrogate.fit(x, np.concatenate([y, y[:5]]))
    assert np.isfinite(surrogate.predict(x).mean).all()


@pytest.mark.parametrize("name", MODELS)
def test_labels_that_fit_perfectly_leave_some_doubt(name: str) -> None:
    x = np.repeat(np.eye(2), 20, axis=0)
    surrogate = make(name)
    surrogate.fit(x, x[:, 0])
    assert (surrogate.predict(x).std > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_minimum_of_labels_is_stated_and_enough(name: str) -> None:
    least = make(name).least_rows
    x, y = one_hot_data(least, noise=0.1)
    surrogate = make(name)
    with pytest.raises(InputError, match=f"needs at least {least} labels .*not {least - 1}"):
        surrogate.fit(x[1:], y[1:])
    surrogate.fit(x, y)
    assert np.isfinite(surrogate.predict(x).mean).all()


@pytest.mark.parametrize("name", ALL)
def test_bad_training_data_are_errors(name: str) -> None:
    x, y = one_hot_data(30, noise=0.1)
    surrogate = make(name)
    for wrong_x, wrong_y, message in (
            (x, np.full(30, 7.0), "all 30 labels are 7, so there is nothing to learn"),
            (x, np.where(np.arange(30) == 4, math.nan, y), "label 4 is nan"),
            (np.where(np.arange(24) == 2, math.inf, x), y, "feature 2 of row 0 is inf"),
            (x, y[:20], "do not have the shapes"), (x[:, :0], y, "F ≥ 1"),
            (x[:, 0], y, "do not have the shapes")):
        with pytest.raises(InputError, match=message):
            surrogate.fit(wrong_x, wrong_y)


@pytest.mark.parametrize("name", ALL)
def test_bad_features_to_predict_are_errors(name: str) -> None:
    surrogate = make(name)
    x, y = one_hot_data(surrogate.least_rows, noise=0.1)
    with pytest.raises(InputError, match="call fit before predict"):
        surrogate.predict(x)
    surrogate.fit(x, y)
    with pytest.raises(InputError, match=r"from 24 features, so predict takes \(M, 24\) with M"):
        surrogate.predict(x[:, :5])
    with pytest.raises(InputError, match="M ≥ 1"):
        surrogate.predict(x[:0])
    with pytest.raises(InputError, match="feature 0 of row 0 is nan"):
        surrogate.predict(x * math.nan)


def test_gaussian_process_is_surer_near_its_labels() -> None:
    x = np.linspace(0.0, 1.0, 30)[:, None]
    surrogate = GaussianProcess(seed=0, smoothness=2.5)
    surrogate.fit(x, np.sin(6 * x[:, 0]))
    near, far = surrogate.predict(np.array([[0.5], [3.0]])).std
    assert far > 3 * near


def test_standardised_columns_have_mean_0_and_spread_1_or_0() -> None:
    values = np.random.default_rng(0).normal(5.0, 3.0, size=(50, 3))
    values[:, 1] = 0.1
    found = Standardiser.of(values)(values)
    assert found.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-12)
    assert found.std(axis=0) == pytest.approx([1, 0, 1], abs=1e-12)
