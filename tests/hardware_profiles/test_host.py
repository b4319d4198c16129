from types import SimpleNamespace

import numpy as np
import pytest

from hardware_profiles.host import HostConfig, host_device, host_key, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import ProfileStore
from hardware_profiles.table import LatencyTable
from nas.core.errors import ProfileError
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space

QUICK = HostConfig(calib_nets=12, test_nets=5,
                   protocol=MeasureProtocol(warm_up=3, runs=20, passes=3, max_passes=6))


@pytest.fixture(scope="module")
def profile(space, vocabulary):
    return profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=3, config=QUICK)


def test_a_profile_has_every_block_and_the_networks_asked_for(profile, space, vocabulary):
    assert [entry.key for entry in profile.entries] == [block.key for block in vocabulary.blocks]
    assert [net.split for net in profile.subnets] == ["calib"] * 12 + ["test"] * 5
    assert len({net.codes for net in profile.subnets}) == 17
    archs = space.decode(np.array([net.codes for net in profile.subnets]))
    assert [net.digest for net in profile.subnets] == [arch.digest for arch in archs]
    extremes = {space.extreme(largest=largest).digest for largest in (True, False)}
    assert extremes <= {net.digest for net in profile.subnets if net.split == "calib"}


def test_a_profile_says_where_it_comes_from(profile, space, vocabulary):
    assert (profile.kind, profile.device.id) == ("measured", host_device().id)
    assert profile.key == host_key(space, vocabulary.blocks)
    assert profile.provenance["seed"] == "3"
    assert profile.validity.input_shape == (1, 8, 8)
    assert {"conv2d", "linear", "sigmoid"} <= set(profile.validity.ops)
    assert (profile.calibration.calib_count, profile.calibration.test_count) == (12, 5)


def test_a_profile_is_stored_and_makes_a_table(profile, space, vocabulary, tmp_path):
    store = ProfileStore(tmp_path)
    store.save(profile)
    stored = store.find(host_key(space, vocabulary.blocks))
    assert stored == profile
    table = LatencyTable(stored, vocabulary.blocks, vocabulary.block_ids)
    found = table.predict("latency_ms", space.sample_codes(30, np.random.default_rng(0)))
    assert np.isfinite(found.value).all()


def test_a_space_with_too_few_networks_is_an_error(space, vocabulary):
    config = HostConfig(calib_nets=4, test_nets=int(space.size), protocol=QUICK.protocol)
    with pytest.raises(ProfileError, match="too few networks"):
        profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=0, config=config)


def test_too_few_networks_asked_for_are_an_error():
    with pytest.raises(ProfileError, match="at least 4 networks"):
        HostConfig(calib_nets=2)


@pytest.mark.slow
def test_the_shipped_space_is_predicted_within_the_gate(shipped_config):
    space = build_space(shipped_config)
    vocabulary = build_vocabulary(shipped_config, space)
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=0)
    held_out = profile.calibration.held_out
    assert profile.validity.valid
    assert profile.calibration.test_count >= 40
    assert held_out.spearman >= 0.97
    assert held_out.in10 >= 0.98
    assert held_out.in5 >= 0.90
    assert abs(held_out.bias) <= 0.02


@pytest.mark.parametrize(("size", "nets"), [(10**9, (40, 60)), (300, (40, 60)), (56, (7, 11)),
                                            (10, (4, 4)), (3, (4, 4))])
def test_a_small_space_gives_up_fewer_networks_and_keeps_some_for_a_check(size, nets):
    asked = HostConfig(threads=2)
    found = asked.fewer_of(SimpleNamespace(size=size))
    assert (found.calib_nets, found.test_nets) == nets
    assert found.threads == 2
    assert found.budget_s == pytest.approx(asked.budget_s * sum(nets) / 100)  # of 40 + 60
