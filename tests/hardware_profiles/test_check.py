import numpy as np
import pytest

from hardware_profiles.check import baselines, check_profile, fresh_networks
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.table import LatencyTable
from nas.core.errors import ProfileError

QUICK = HostConfig(calib_nets=6, test_nets=4,
                   protocol=MeasureProtocol(warm_up=2, runs=10, passes=2, max_passes=4))


@pytest.fixture(scope="module")
def profile(space, vocabulary):
    return profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=3, config=QUICK)


def check(profile, space, vocabulary, **options):
    return check_profile(profile, space, vocabulary.blocks, vocabulary.block_ids, **options)


def changed(profile, part, **values):
    return profile.model_copy(update={part: getattr(profile, part).model_copy(update=values)})


def test_fresh_networks_are_measured_and_compared(profile, space, vocabulary):
    steps = []
    found = check(profile, space, vocabulary, nets=10, seed=1,
                  progress=lambda done, total: steps.append((done, total)))
    assert len(set(found.digests)) == len(found.measured_ms) == len(found.estimate.value) == 10
    assert not set(found.digests) & {net.digest for net in profile.subnets}
    assert (found.measured_ms > 0).all()
    assert set(found.baselines) == {"block_sum", "macs"}
    assert steps[-1][0] == steps[-1][1]


def test_a_profile_of_a_machine_twice_as_fast_does_not_hold(profile, space, vocabulary):
    entries = tuple(
        entry.model_copy(update={"timing": entry.timing.model_copy(
            update={"latency_ms": entry.timing.latency_ms / 2})}) for entry in profile.entries)
    fit = profile.calibration
    less = {**fit.coefficients, "blocks": fit.coefficients["blocks"] / 2,
            "constant": fit.coefficients["constant"] / 2}
    half = changed(profile, "calibration", coefficients=less, empty_ms=fit.empty_ms / 2)
    found = check(half.model_copy(update={"entries": entries}), space, vocabulary, nets=8)
    assert not found.verdict.ok
    assert found.verdict.quality.bias < -0.2


def test_no_fresh_network_is_in_the_profile(profile, space):
    known = {net.codes for net in profile.subnets}
    codes = fresh_networks(profile, space, 12, seed=0)
    rows = set(map(tuple, codes.tolist()))
    assert len(rows) == 12
    assert not rows & known
    np.testing.assert_array_equal(codes, fresh_networks(profile, space, 12, seed=0))
    assert rows != set(map(tuple, fresh_networks(profile, space, 12, seed=1).tolist()))


def test_more_networks_than_the_space_has_are_an_error(profile, space):
    with pytest.raises(ProfileError, match="too few networks beside the 10"):
        fresh_networks(profile, space, space.size - 9, seed=0)


def test_baselines_are_those_of_the_profile_on_its_own_networks(profile, vocabulary):
    held_out = [net for net in profile.subnets if net.split == "test"]
    found = baselines(LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids),
                      np.array([net.codes for net in held_out]),
                      np.array([net.timing.latency_ms for net in held_out]))
    for name, stated in profile.calibration.baselines.items():
        assert found[name].model_dump() == pytest.approx(stated.model_dump())


@pytest.mark.parametrize(("part", "values", "message"), [
    ("device", {"id": "host-elsewhere"}, "is of device host-elsewhere, this machine is"),
    ("runtime", {"version": "0.0.1"}, "onnxruntime version 0.0.1, here it is"),
    ("runtime", {"provider": "CUDAExecutionProvider"}, "has no CUDAExecutionProvider"),
    ("runtime", {"threads": 4096}, "is of 4096 threads, this machine has"),
])
def test_a_profile_of_another_machine_is_refused(profile, space, vocabulary, part, values, message):
    with pytest.raises(ProfileError, match=message) as caught:
        check(changed(profile, part, **values), space, vocabulary)
    assert "nas profile run" in str(caught.value)


@pytest.mark.parametrize(("values", "message"), [
    ({"space": "other/1"}, "is of space other/1"),
    ({"generator": "0" * 16}, "another version of space"),
    ({"subnets": ()}, "no calibration networks"),
])
def test_a_profile_of_another_space_is_refused(profile, space, vocabulary, values, message):
    with pytest.raises(ProfileError, match=message):
        check(profile.model_copy(update=values), space, vocabulary, nets=4)
