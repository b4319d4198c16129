import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import skew, yeojohnson

from nas.core.types import FloatArray
from predictors.surrogate.ridge import Ridge
from predictors.surrogate.warped import Warp, Warped

LABELS = arrays(np.float64, st.integers(3, 30), elements=st.floats(-1e6, 1e6, width=32)).filter(
    lambda labels: np.ptp(labels) > 1e-3 * max(1.0, np.abs(labels).max()))


@settings(max_examples=40)
@given(labels=LABELS)
def test_map_keeps_order_and_inverts(labels: FloatArray) -> None:
    warp = Warp.of(labels)
    assert 0.0 <= warp.power <= 2.0
    mapped = warp(labels)
    order = np.argsort(labels, kind="stable")
    assert (np.diff(mapped[order]) >= 0).all()
    assert warp.inverse(mapped) == pytest.approx(labels, rel=1e-6, abs=1e-6 * np.ptp(labels))


def test_every_number_has_an_original() -> None:
    warp = Warp.of(-np.random.default_rng(0).exponential(size=200) ** 3)
    values = warp.inverse(np.array([-8.0, -1.0, 0.0, 1.0, 8.0]))
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()


def test_long_tail_becomes_symmetric() -> None:
    accuracies = 94.0 - np.random.default_rng(0).lognormal(size=300)
    assert skew(accuracies) < -2
    assert abs(skew(Warp.of(accuracies)(accuracies))) < abs(skew(accuracies)) / 2


def test_agrees_with_scipy_where_the_best_power_is_inside() -> None:
    labels = np.random.default_rng(0).gamma(4.0, size=200)
    standard = (labels - labels.mean()) / labels.std()
    expected, power = yeojohnson(standard)
    warp = Warp.of(labels)
    assert warp.power == pytest.approx(power, abs=1e-3)
    expected = (expected - expected.mean()) / expected.std()
    assert warp(labels) == pytest.approx(expected, abs=1e-3)


def test_normal_labels_are_predicted_as_without_the_map() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = x @ np.array([1.0, 2.0, 3.0]) + rng.normal(size=300)
    plain, warped = Ridge(seed=0), Warped(Ridge(seed=0))
    plain.fit(x, y)
    warped.fit(x, y)
    a, b = plain.predict(x), warped.predict(x)
    assert np.abs(b.mean - a.mean).mean() < 0.05 * y.std()
    assert b.std.mean() == pytest.approx(a.std.mean(), rel=0.1)


def test_mean_and_spread_are_those_of_the_distribution_mapped_back() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    y = -np.exp(x[:, 0] + 0.5 * rng.normal(size=100))
    base = Ridge(seed=0)
    warped = Warped(base)
    warped.fit(x, y)
    found, inner = warped.predict(x[:3]), base.predict(x[:3])
    draws = inner.mean + inner.std * rng.normal(size=(200_000, 3))
    values = Warp.of(y).inverse(draws)
    assert found.mean == pytest.approx(values.mean(axis=0), rel=0.02)
    assert found.std == pytest.approx(values.std(axis=0), rel=0.05)
