import numpy as np
import pytest

from hardware_profiles.coverage import choose_rows, log_det, whitened
from hardware_profiles.features import network_features
from hardware_profiles.few_shot import assemble_few_shot, plan_few_shot
from hardware_profiles.few_shot_features import feature_sets
from hardware_profiles.few_shot_fit import fit_few_shot, ratio_interval
from hardware_profiles.few_shot_host import run_few_shot
from hardware_profiles.host import HostConfig
from hardware_profiles.identity import generator_hash
from hardware_profiles.measure import Measurement
from hardware_profiles.plan import network_key
from hardware_profiles.profile import (
    Calibration,
    Entry,
    MeasureProtocol,
    Quality,
    Runtime,
    TableTime,
    Timing,
)
from hardware_profiles.profile_file import read_profile, write_profile
from hardware_profiles.store import ProfileStore
from hardware_profiles.table import METRIC, LatencyTable
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space

DEVICE = {"blocks": 2e-3, "macs:pw": 3e-8, "macs:dw": 2e-7, "kernels:pool": 4e-3}
START_MS = 0.01
QUIET = MeasureProtocol(warm_up=1, runs=2, passes=2, max_passes=2)


@pytest.fixture(scope="module")
def parts(shipped_config):
    space = build_space(shipped_config)
    vocabulary = build_vocabulary(shipped_config, space)
    return space, vocabulary.blocks, vocabulary.block_ids


def device_ms(parts, codes: IntArray, device: dict[str, float] | None = None) -> FloatArray:
    """What an additive device of these coefficients takes."""
    device = device or DEVICE
    _, blocks, block_ids = parts
    return network_features(list(device), blocks, block_ids(codes)) @ [*device.values(), START_MS]


def timing(ms: float) -> Timing:
    return Timing(latency_ms=ms, cpu_min_ms=ms, wall_min_ms=ms, wall_median_ms=ms, wall_p95_ms=ms,
                  pass_ms=(ms,) * 4, agreeing=4, stable=True, runs=4)


def few_shot(parts, net_ms, *, nets: int = 20, seed: int = 0, **options):
    """The profile of a made-up device on which `net_ms(codes)` are the times."""
    space, blocks, block_ids = parts
    plan = plan_few_shot(space, blocks, block_ids, nets=nets, seed=seed)
    times = net_ms(plan.codes)
    measured = Measurement({network_key(row): timing(ms) for row, ms in enumerate(times)}, 1.0)
    return assemble_few_shot(space, blocks, block_ids, plan, measured, runtime=Runtime(version="1"),
                             protocol=QUIET, seed=seed, **options)


@pytest.fixture
def device(make_profile):
    return make_profile().device


@pytest.fixture(scope="module")
def fresh(parts):
    return parts[0].sample_codes(2000, np.random.default_rng(99))


def test_an_additive_device_is_recovered(parts, device, fresh, tmp_path):
    profile = few_shot(parts, lambda codes: device_ms(parts, codes), device=device)
    assert (profile.kind, profile.entries, profile.calibration.held_out_by) == (
        "fewshot", (), "cross-validation")
    assert profile.calibration.held_out.in5 == 1.0
    write_profile(profile, tmp_path / "few.json")
    table = LatencyTable(read_profile(tmp_path / "few.json"), *parts[1:])
    found = table.predict(METRIC, fresh)
    assert found.kind == "fewshot"
    np.testing.assert_allclose(found.value, device_ms(parts, fresh), rtol=5e-3)


def test_vectors_of_sixteen_channels_are_found_out(parts, device, fresh):
    padded = {"macs16:pw": 3e-8, "macs16:dw": 2e-7, "kernels:dw": 1e-3}
    profile = few_shot(parts, lambda codes: device_ms(parts, codes, padded), device=device)
    assert "macs16" in profile.calibration.model
    found = LatencyTable(profile, *parts[1:]).predict(METRIC, fresh).value
    np.testing.assert_allclose(found, device_ms(parts, fresh, padded), rtol=5e-3)


@pytest.mark.parametrize("nets", [10, 20])
def test_the_interval_holds_what_it_says_under_noise(parts, device, fresh, nets):
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)

        def noisy(codes: IntArray, rng=rng) -> FloatArray:
            return device_ms(parts, codes) * np.exp(0.04 * rng.standard_normal(len(codes)))

        profile = few_shot(parts, noisy, device=device, nets=nets, seed=seed)
        assert 0.005 < profile.calibration.held_out.mape < 0.2
        estimate = LatencyTable(profile, *parts[1:]).predict(METRIC, fresh)
        truth = noisy(fresh)
        inside.append(((estimate.lower <= truth) & (truth <= estimate.upper)).mean())
    assert 0.85 <= np.mean(inside) <= 0.999


def prior_of(parts, make_profile, own_ms: FloatArray):
    space, blocks, _ = parts
    return make_profile(
        id="the prior", space=space.id, generator=generator_hash(space, blocks),
        entries=tuple(Entry(key=block.key, timing=TableTime(latency_ms=0.5 + ms))
                      for block, ms in zip(blocks, own_ms, strict=True)))


def test_the_blocks_of_another_configuration_help_where_features_do_not(
        parts, device, make_profile, fresh):
    _, blocks, block_ids = parts
    own_ms = np.random.default_rng(5).uniform(0.001, 0.1, len(blocks))

    def twice(codes: IntArray) -> FloatArray:
        return 0.02 + 2.0 * np.append(own_ms, 0.0)[block_ids(codes)].sum(axis=1)

    alone = few_shot(parts, twice, device=device)
    helped = few_shot(parts, twice, device=device, prior=prior_of(parts, make_profile, own_ms))
    assert helped.provenance["blocks_of"] == "the prior"
    assert len(helped.entries) == len(blocks)
    assert helped.calibration.held_out.mape < 0.01 < alone.calibration.held_out.mape
    found = LatencyTable(helped, *parts[1:]).predict(METRIC, fresh).value
    np.testing.assert_allclose(found, twice(fresh), rtol=0.01)


def test_a_prior_that_says_nothing_is_left_out(parts, device, make_profile):
    noise = np.random.default_rng(5).uniform(0.001, 0.1, len(parts[1]))
    profile = few_shot(parts, lambda codes: device_ms(parts, codes), device=device,
                       prior=prior_of(parts, make_profile, noise))
    assert "own_ms" not in profile.calibration.coefficients
    assert (profile.entries, profile.calibration.empty_ms) == ((), None)


def test_a_prior_of_another_space_is_refused(parts, device, make_profile):
    with pytest.raises(ProfileError, match="is of space tiny/1"):
        few_shot(parts, lambda codes: device_ms(parts, codes), device=device,
                 prior=make_profile())


def test_a_plan_is_the_same_for_the_same_seed_and_spans_the_space(parts):
    space, blocks, block_ids = parts
    first, again, other = (plan_few_shot(space, blocks, block_ids, nets=12, seed=seed)
                           for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.codes, again.codes)
    assert not np.array_equal(first.codes, other.codes)
    assert len({tuple(row) for row in first.codes.tolist()}) == 12 == first.calib_nets
    assert set(first.graphs) == {network_key(row) for row in range(12)}
    np.testing.assert_array_equal(first.codes, space.canonical_codes(first.codes))
    extremes = space.encode([space.extreme(largest=False), space.extreme(largest=True)])
    np.testing.assert_array_equal(first.codes[:2], extremes)


def test_chosen_networks_tell_more_than_random_ones(parts):
    space, blocks, block_ids = parts
    names = feature_sets(blocks)["kernels+macs+elems"]
    pool = space.sample_codes(600, np.random.default_rng(0))
    points = whitened(network_features(names, blocks, block_ids(pool)))
    value = {method: [log_det(points[choose_rows(points, 20, method=method,
                                                 rng=np.random.default_rng(seed))])
                      for seed in range(5)] for method in ("d_optimal", "farthest_point", "random")}
    assert min(value["d_optimal"]) > max(value["farthest_point"])
    assert min(value["farthest_point"]) > max(value["random"])


@pytest.mark.parametrize("method", ["d_optimal", "farthest_point", "random"])
def test_rows_are_distinct_and_keep_what_is_given(method):
    points = whitened(np.random.default_rng(0).random((30, 3)))
    rows = choose_rows(points, 9, method=method, rng=np.random.default_rng(0), first=(4, 7))
    assert rows[:2].tolist() == [4, 7]
    assert len(set(rows.tolist())) == 9
    with pytest.raises(ProfileError, match="31 rows cannot be chosen"):
        choose_rows(points, 31, method=method, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("nets", "message"), [
    (3, "3 networks are too few .* at least 8"), (5000, "networks to choose from, not 5000")])
def test_numbers_that_no_fit_can_use_are_errors(parts, nets, message):
    with pytest.raises(ProfileError, match=message):
        plan_few_shot(*parts, nets=nets, seed=0)


@pytest.mark.parametrize(("wrong", "message"), [
    (np.nan, "network 3 was measured as nan ms"), (0.0, "network 3 was measured as 0.0 ms"),
    (np.inf, "network 3 was measured as inf ms"), (-1.0, "network 3 was measured as -1.0 ms")])
def test_a_time_that_is_none_is_an_error(wrong, message):
    times = np.linspace(1.0, 2.0, 12)
    times[3] = wrong
    with pytest.raises(ProfileError, match=message):
        fit_few_shot({"size": np.column_stack([np.arange(12.0), np.ones(12)])}, times)


def test_a_clock_that_stands_still_is_an_error(parts, device):
    with pytest.raises(ProfileError, match="all 20 networks were measured as"):
        few_shot(parts, lambda codes: np.full(len(codes), 0.5), device=device)


def test_the_stated_error_is_of_networks_that_the_fit_had_not_seen():
    """Pure noise has nothing to predict: a fit that saw its networks would look far better."""
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.random((12, 5)), np.ones(12)])
    noise = np.exp(0.1 * rng.standard_normal(12))
    fit = fit_few_shot({"noise": features}, noise)
    seen = np.abs(features @ fit.coefficients / noise - 1)
    assert np.abs(fit.predicted_ms / noise - 1).mean() > 1.3 * seen.mean()


def test_an_interval_of_few_is_wider_than_one_of_many():
    ratios = np.exp(0.05 * np.random.default_rng(1).standard_normal(400))
    few, many = ratio_interval(np.ones(6), ratios[:6]), ratio_interval(np.ones(400), ratios)
    spread = np.log(ratios).std(ddof=1)
    assert np.log(many) == pytest.approx([np.log(ratios).mean() + z * spread
                                          for z in (-1.645, 1.645)], abs=0.01)
    assert np.log(few[1] / few[0]) > 2 * 1.645 * np.log(ratios[:6]).std(ddof=1)


def test_this_machine_in_a_handful_of_networks(space, vocabulary, tmp_path):
    store = ProfileStore(tmp_path)
    profile = run_few_shot(store, space, vocabulary.blocks, vocabulary.block_ids, nets=9, seed=0,
                           config=HostConfig(protocol=QUIET), keep_doubtful=True)
    assert store.find(profile.key) == profile
    assert (profile.kind, len(profile.subnets), profile.entries) == ("fewshot", 9, ())
    assert {net.split for net in profile.subnets} == {"calib"}
    assert isinstance(profile.calibration, Calibration)
    assert isinstance(profile.calibration.held_out, Quality)
    assert profile.id != profile.key.name("measured")
