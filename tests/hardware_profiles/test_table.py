import time

import numpy as np
import pytest

from hardware_profiles.profile import Steps
from hardware_profiles.table import LatencyTable
from nas.core.errors import InputError, ProfileError


def test_a_prediction_is_the_calibrated_sum_of_its_blocks(make_profile, space, vocabulary):
    table = LatencyTable(make_profile(), vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(50, np.random.default_rng(0))
    expected = [sum(0.9 * (1.0 + i - 0.5) - 0.1 for i in row if i >= 0) + 0.2
                for row in vocabulary.block_ids(codes)]
    found = table.predict("latency_ms", codes)
    np.testing.assert_allclose(found.value, expected)
    np.testing.assert_allclose(found.lower, 0.9 * found.value)
    np.testing.assert_allclose(found.upper, 1.2 * found.value)
    assert found.kind == "measured"
    assert table.metrics == {"latency_ms": "ms"}


def test_the_block_table_and_the_constant_make_up_the_prediction(make_profile, space, vocabulary):
    profile = make_profile()
    table = LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(1, np.random.default_rng(1))
    ids = vocabulary.block_ids(codes)[0]
    blocks = table.block_table("latency_ms")
    assert blocks.shape == (len(vocabulary.blocks),)
    total = blocks[ids[ids >= 0]].sum() + profile.calibration.coefficients["constant"]
    assert table.predict("latency_ms", codes).value[0] == pytest.approx(total)


def stepped(profile):
    """The same with a factor: 1 up to four blocks, then 2."""
    steps = Steps(thresholds=(4.0,), values=(0.0, float(np.log(2))))
    fit = profile.calibration.model_copy(update={
        "model": "boosted_blocks", "steps": {"blocks": steps}})
    return profile.model_copy(update={"calibration": fit})


def test_steps_multiply_the_sum(make_profile, space, vocabulary):
    linear = LatencyTable(make_profile(), vocabulary.blocks, vocabulary.block_ids)
    table = LatencyTable(stepped(make_profile()), vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(50, np.random.default_rng(0))
    factor = np.where((vocabulary.block_ids(codes) >= 0).sum(axis=1) > 4, 2.0, 1.0)
    assert len(set(factor.tolist())) == 2
    np.testing.assert_allclose(table.predict("latency_ms", codes).value,
                               factor * linear.predict("latency_ms", codes).value)
    assert table.block_table("latency_ms") is None
    for code, times in zip(codes, factor, strict=True):
        np.testing.assert_allclose(table.block_shares(code), times * linear.block_shares(code))


def test_a_million_networks_a_second_with_steps_too(make_profile, space, vocabulary):
    many = {name: Steps(thresholds=tuple(np.linspace(0, 9, 6)), values=(0.0,) * 7)
            for name in ("own_ms", "blocks", "kernels:pw", "macs:pw", "kernels:dw", "macs:dw",
                         "elems:pw", "elems:dw", "elems:add", "elems:pool", "kernels:add")}
    profile = make_profile()
    profile = profile.model_copy(update={
        "calibration": profile.calibration.model_copy(update={"steps": many})})
    table = LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(200_000, np.random.default_rng(0))

    def cpu_s() -> float:
        started = time.process_time()
        table.predict("latency_ms", codes)
        return time.process_time() - started

    assert len(codes) / min(cpu_s() for _ in range(3)) >= 1e6


def test_entries_are_found_by_key_not_by_order(make_profile, space, vocabulary):
    profile = make_profile()
    turned = profile.model_copy(update={"entries": profile.entries[::-1]})
    codes = space.sample_codes(20, np.random.default_rng(0))
    a, b = (LatencyTable(one, vocabulary.blocks, vocabulary.block_ids).predict("latency_ms", codes)
            for one in (profile, turned))
    np.testing.assert_array_equal(a.value, b.value)


def test_a_block_that_the_profile_lacks_is_named(make_profile, vocabulary):
    profile = make_profile()
    short = profile.model_copy(update={"entries": profile.entries[1:]})
    with pytest.raises(ProfileError) as caught:
        LatencyTable(short, vocabulary.blocks, vocabulary.block_ids)
    assert vocabulary.blocks[0].key in str(caught.value)
    assert "nas profile run" in str(caught.value)


def test_another_metric_is_an_error(make_profile, space, vocabulary):
    table = LatencyTable(make_profile(), vocabulary.blocks, vocabulary.block_ids)
    with pytest.raises(InputError, match="no metric 'energy_mj'"):
        table.predict("energy_mj", space.sample_codes(1, np.random.default_rng(0)))
