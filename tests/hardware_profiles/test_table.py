import numpy as np
import pytest

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
