import numpy as np
import pytest

from hardware_profiles.energy import MIN_NETWORKS, EnergyTable
from hardware_profiles.profile import Subnet
from hardware_profiles.table import LatencyTable
from nas.core.costs import reduce_blocks
from nas.core.errors import InputError, ProfileError

NOISE = 0.02


@pytest.fixture
def make_table(make_profile, space, vocabulary):
    """The energy table of networks that draw 2 W, and 1 mJ an inference, with some noise."""
    def make(count=30, energy_of=lambda latency_ms: 2.0 * latency_ms + 1.0) -> EnergyTable:
        plain = make_profile()
        latency = LatencyTable(plain, vocabulary.blocks, vocabulary.block_ids)
        rng = np.random.default_rng(0)
        codes = space.sample_codes(count, rng)
        timing = plain.subnets[0].timing
        nets = tuple(
            Subnet(digest="x", codes=tuple(row), split="test", timing=timing.model_copy(update={
                "energy_mj": float(energy_of(ms) * rng.normal(1.0, NOISE))}))
            for row, ms in zip(codes.tolist(), latency.predict("latency_ms", codes).value,
                               strict=True))
        return EnergyTable(make_profile(subnets=nets), vocabulary.blocks, vocabulary.block_ids)

    return make


def test_energy_is_predicted_within_the_noise(make_table, space, vocabulary):
    table = make_table()
    codes = space.sample_codes(200, np.random.default_rng(1))
    latency = LatencyTable(table.profile, vocabulary.blocks, vocabulary.block_ids)
    found = table.predict("energy_mj", codes)
    truth = 2.0 * latency.predict("latency_ms", codes).value + 1.0
    assert np.abs(found.value / truth - 1.0).max() < 2 * NOISE
    assert (found.lower < found.value).all()
    assert (found.value < found.upper).all()
    assert found.kind == "measured"
    assert table.held_out.mape < 2 * NOISE
    assert table.metrics == {"energy_mj": "mJ"}


def test_the_block_table_sums_to_the_prediction_less_the_constant(make_table, space, vocabulary):
    table = make_table()
    codes = space.sample_codes(20, np.random.default_rng(1))
    sums = reduce_blocks(table.block_table("energy_mj"), codes, vocabulary.block_ids)
    rest = table.predict("energy_mj", codes).value - sums
    assert rest == pytest.approx(rest[0])


def test_a_profile_without_energy_is_an_error(make_profile, make_table, vocabulary):
    profile = make_profile()
    with pytest.raises(ProfileError, match=r"energy of 0 networks.* --power"):
        EnergyTable(profile, vocabulary.blocks, vocabulary.block_ids)
    with pytest.raises(ProfileError, match=f"{MIN_NETWORKS} are needed"):
        make_table(count=MIN_NETWORKS - 1)


def test_another_metric_is_an_error(make_table, space):
    table = make_table()
    with pytest.raises(InputError, match="no metric 'latency_ms'"):
        table.predict("latency_ms", space.sample_codes(1, np.random.default_rng(0)))
    with pytest.raises(InputError, match="no metric 'macs'"):
        table.block_table("macs")
