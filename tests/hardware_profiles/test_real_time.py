import numpy as np
import pytest

from hardware_profiles.real_time import RealTimeFactor
from hardware_profiles.table import LatencyTable
from nas.core.costs import reduce_blocks
from nas.core.errors import InputError


@pytest.fixture
def latency(make_profile, vocabulary):
    return LatencyTable(make_profile(), vocabulary.blocks, vocabulary.block_ids)


def test_it_is_latency_over_the_length_of_the_clip(latency, space):
    model = RealTimeFactor(latency, 2.0)
    codes = space.sample_codes(20, np.random.default_rng(0))
    found, ms = model.predict("rtf", codes), latency.predict("latency_ms", codes)
    assert model.metrics == {"rtf": "1"}
    assert found.kind == ms.kind
    for mine, theirs in ((found.value, ms.value), (found.lower, ms.lower), (found.upper, ms.upper)):
        np.testing.assert_allclose(mine, theirs / 2000.0)


def test_blocks_add_up_as_those_of_the_latency_do(latency, space, vocabulary):
    codes = space.sample_codes(5, np.random.default_rng(0))
    ratio = (reduce_blocks(RealTimeFactor(latency, 0.5).block_table("rtf"), codes,
                           vocabulary.block_ids)
             / reduce_blocks(latency.block_table("latency_ms"), codes, vocabulary.block_ids))
    np.testing.assert_allclose(ratio, 1 / 500.0)


def test_what_it_does_not_have(latency, space):
    model, codes = RealTimeFactor(latency, 1.0), space.sample_codes(1, np.random.default_rng(0))
    with pytest.raises(InputError, match="no metric 'latency_ms'; it has 'rtf'"):
        model.predict("latency_ms", codes)
    with pytest.raises(InputError, match="no metric 'macs'"):
        model.block_table("macs")
    for seconds in (0.0, float("nan")):
        with pytest.raises(InputError, match="no real-time factor"):
            RealTimeFactor(latency, seconds)
