import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.calibrate import CLEARLY, choose, cross_validate, quality
from hardware_profiles.candidates import (
    CANDIDATES,
    Fitted,
    relative_ridge,
    step_factor,
)
from hardware_profiles.profile import Quality, Steps

NAMES = [candidate.name for candidate in CANDIDATES]
BY_NAME = {candidate.name: candidate for candidate in CANDIDATES}


def networks(seed: int, count: int) -> dict[str, np.ndarray]:
    """Features whose own times say nothing of one operator, as isolated blocks do of fusion."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(5, 15, count).astype(float)
    return {"own_ms": blocks * rng.uniform(0.5, 1.5, count), "blocks": blocks,
            "kernels:add": rng.integers(0, 6, count).astype(float),
            "macs:pw": rng.uniform(1e6, 9e6, count)}


def rows(features: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
    return {name: values[part] for name, values in features.items()}


LAWS = {
    "affine_blocks": lambda x: 0.8 * x["own_ms"] + 0.1 * x["blocks"] + 0.5,
    "blocks_and_ops": lambda x: 0.8 * x["own_ms"] + 0.1 * x["blocks"] + 0.5 * x["kernels:add"] + 1,
    "op_counts": lambda x: 0.5 * x["kernels:add"] + 1e-6 * x["macs:pw"] + 1,
    # A cache that is too small from some point on: no sum of features bends like this.
    "boosted_blocks": lambda x: (x["own_ms"] + 1) * np.where(x["macs:pw"] > 6e6, 1.5, 1.0),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_form_finds_a_law_of_its_own_form(name):
    features = networks(0, 120)
    latency_ms = LAWS[name](features)
    fit = BY_NAME[name].fit(rows(features, slice(80)), latency_ms[:80])
    found = quality(fit.predict(rows(features, slice(80, None))), latency_ms[80:])
    assert found.mape < 0.02
    assert found.spearman > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_cross_validation_chooses_the_form_of_the_law(name):
    features = networks(1, 80)
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(80)
    latency_ms = LAWS[name](features) * noise
    validated = cross_validate(CANDIDATES, features, latency_ms)
    assert list(validated) == NAMES
    assert choose(CANDIDATES, validated).name == ("blocks_and_ops" if name == "op_counts" else name)


def test_noise_does_not_choose_a_richer_form():
    features = networks(2, 60)
    for seed in range(2):
        noise = 1 + 0.03 * np.random.default_rng(seed).standard_normal(60)
        latency_ms = LAWS["affine_blocks"](features) * noise
        validated = cross_validate(CANDIDATES, features, latency_ms)
        assert choose(CANDIDATES, validated).name == "affine_blocks"


def test_a_later_candidate_must_be_clearly_better():
    def of(mape: float) -> Quality:
        return Quality(mape=mape, bias=0, in5=1, in10=1, spearman=1)

    almost = dict(zip(NAMES, map(of, (0.02, 0.02 * CLEARLY, 0.03, 0.03)), strict=True))
    better = almost | {NAMES[1]: of(0.0199 * CLEARLY)}
    assert choose(CANDIDATES, almost).name == NAMES[0]
    assert choose(CANDIDATES, better).name == NAMES[1]
    assert choose(CANDIDATES, {}).name == NAMES[0]


@pytest.mark.parametrize("count", [4, 12, 20])
def test_candidates_that_need_more_networks_are_left_out(count):
    features = networks(3, count)
    validated = cross_validate(CANDIDATES, features, LAWS["affine_blocks"](features))
    assert list(validated) == [one.name for one in CANDIDATES if one.min_nets <= count]


def test_a_fold_is_predicted_by_the_others_alone():
    features = networks(4, 40)
    latency_ms = np.random.default_rng(0).uniform(1, 2, 40)  # nothing to learn
    validated = cross_validate(CANDIDATES, features, latency_ms)
    assert all(found.spearman < 0.6 for found in validated.values())
    assert all(found.mape > 0.1 for found in validated.values())


def test_columns_that_say_the_same_do_not_break_the_ridge():
    rng = np.random.default_rng(0)
    column = rng.uniform(1, 2, 30)
    columns = np.stack([np.ones(30), column, column, np.zeros(30)], axis=1)
    latency_ms = 1 + 2 * column
    found = relative_ridge(columns, latency_ms, [False, True, True, True])
    np.testing.assert_allclose(columns @ found, latency_ms, rtol=1e-3)


@given(thresholds=st.lists(st.floats(-10, 10), min_size=1, max_size=6, unique=True),
       values=st.lists(st.floats(-1, 1), min_size=7, max_size=7), x=st.floats(-12, 12))
def test_steps_are_looked_up_as_they_are_defined(thresholds, values, x):
    thresholds = sorted(thresholds)
    steps = Steps(thresholds=tuple(thresholds), values=tuple(values[:len(thresholds) + 1]))
    expected = values[sum(x > threshold for threshold in thresholds)]
    found = step_factor({"blocks": steps}, {"blocks": np.array([x])})
    assert found == pytest.approx(np.exp([expected]))


def test_boosting_leaves_numbers_that_need_no_library_to_be_read():
    features = networks(5, 80)
    fit = BY_NAME["boosted_blocks"].fit(features, LAWS["boosted_blocks"](features))
    again = Fitted(coefficients=fit.coefficients, steps={
        name: Steps.model_validate_json(steps.model_dump_json())
        for name, steps in fit.steps.items()})
    np.testing.assert_array_equal(fit.predict(features), again.predict(features))
    assert "macs:pw" in fit.steps


@pytest.mark.parametrize(("thresholds", "values"), [((1.0,), (1.0,)), ((2.0, 1.0), (1.0,) * 3)])
def test_steps_that_make_no_function_are_refused(thresholds, values):
    with pytest.raises(ValueError, match="ascending thresholds"):
        Steps(thresholds=thresholds, values=values)
