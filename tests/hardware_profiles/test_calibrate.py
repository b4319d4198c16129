import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.calibrate import calibrate, quality, rank_correlation
from nas.core.errors import ProfileError

BLOCK_MS = np.array([0.3, 0.7, 1.5, 4.0])
EMPTY_MS = 0.1


def draw(rng: np.random.Generator, count: int, *, fixed_depth: bool = False) -> np.ndarray:
    ids = rng.integers(0, len(BLOCK_MS), (count, 5))
    if not fixed_depth:
        ids[rng.random(ids.shape) < 0.3] = -1
        ids[:, 0] = np.abs(ids[:, 0])  # no network is empty
    return ids


def latency(ids: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    return np.array([sum(a * (BLOCK_MS[i] - EMPTY_MS) + b for i in row if i >= 0) + c
                     for row in ids])


def fit(ids: np.ndarray, ms: np.ndarray, split: int):
    return calibrate(block_ms=BLOCK_MS, block_macs=BLOCK_MS * 1e6, empty_ms=EMPTY_MS,
                     calib=(ids[:split], ms[:split]), test=(ids[split:], ms[split:]))


@given(seed=st.integers(0, 1000), a=st.floats(0.5, 2), b=st.floats(0, 0.5), c=st.floats(0.1, 2))
def test_a_map_of_this_form_is_found_again(seed, a, b, c):
    ids = draw(np.random.default_rng(seed), 60)
    found = fit(ids, latency(ids, a, b, c), 30)
    assert found.coefficients == pytest.approx({"own_ms": a, "blocks": b, "constant": c})
    assert found.held_out.mape == pytest.approx(0, abs=1e-9)
    assert (found.calib_count, found.test_count) == (30, 30)
    assert (found.lower_ratio, found.upper_ratio) == pytest.approx((1, 1))


def test_a_space_of_one_depth_is_fitted_too():
    ids = draw(np.random.default_rng(0), 60, fixed_depth=True)
    assert fit(ids, latency(ids, 0.9, 0.2, 1.0), 30).held_out.mape == pytest.approx(0, abs=1e-9)


def test_the_held_out_check_sees_an_error_that_the_fit_does_not():
    ids = draw(np.random.default_rng(0), 60)
    ms = latency(ids, 1.0, 0.1, 0.5)
    ms[30:] *= 1.08
    held_out = fit(ids, ms, 30).held_out
    assert held_out.bias == pytest.approx(1 / 1.08 - 1)
    assert (held_out.in5, held_out.in10) == (0.0, 1.0)
    assert held_out.spearman > 0.99  # networks of equal cost tie


def test_raw_sums_and_macs_stand_beside_the_fit():
    ids = draw(np.random.default_rng(0), 60)
    baselines = fit(ids, latency(ids, 1.3, 0.2, 1.0), 30).baselines
    assert set(baselines) == {"block_sum", "macs"}
    assert baselines["block_sum"].bias < -0.1


def test_what_chose_the_form_is_kept_and_the_held_out_networks_had_no_say():
    ids = draw(np.random.default_rng(0), 90)
    ms = latency(ids, 1.0, 0.1, 0.5)
    adds = {"kernels:add": np.array([0.0, 1.0, 2.0, 0.0])}

    def fitted(test_ms: np.ndarray):
        return calibrate(block_ms=BLOCK_MS, block_macs=BLOCK_MS * 1e6, empty_ms=EMPTY_MS,
                         calib=(ids[:50], ms[:50]), test=(ids[50:], test_ms), features=adds)

    right, wrong = fitted(ms[50:]), fitted(ms[50:][::-1])
    assert set(right.cross_validation) == {"affine_blocks", "blocks_and_ops", "op_counts",
                                           "boosted_blocks"}
    assert (right.model, right.coefficients) == (wrong.model, wrong.coefficients)
    assert right.cross_validation == wrong.cross_validation
    assert right.held_out.mape < wrong.held_out.mape


def test_too_few_networks_are_an_error():
    ids = draw(np.random.default_rng(0), 10)
    with pytest.raises(ProfileError, match="at least 4 networks"):
        fit(ids, latency(ids, 1, 0, 0.1), 3)


def test_a_fit_that_predicts_no_time_at_all_is_an_error():
    ids = np.full((10, 5), -1)
    ids[:5, 0] = [0, 1, 2, 3, 0]  # on one block each, slower blocks make faster networks
    ids[5:] = [[3, 3, 3, 3, i] for i in (0, 1, 2, 3, 3)]
    ms = 5.0 - latency(ids[:, :1], 1.0, 0.0, 0.0)
    with pytest.raises(ProfileError, match="not positive"):
        fit(ids, ms, 5)


def test_networks_that_all_cost_the_same_are_an_error():
    with pytest.raises(ProfileError, match="all networks cost the same"):
        rank_correlation(np.ones(5), np.arange(5.0))


def test_quality_counts_shares():
    found = quality(np.array([1.0, 1.04, 0.92, 2.4]), np.array([1.0, 1.0, 1.0, 2.0]))
    assert (found.in5, found.in10, found.spearman) == (0.5, 0.75, pytest.approx(0.6**0.5))
    assert found.mape == pytest.approx((0.04 + 0.08 + 0.2) / 4)
    assert found.bias == pytest.approx((0.04 - 0.08 + 0.2) / 4)
