import json
import os
import shutil
import threading

import numpy as np
import pytest

from hardware_profiles.agent_result import read_result
from hardware_profiles.bundle import agent_source, write_bundle
from hardware_profiles.bundle_manifest import RuntimeWish
from hardware_profiles.importing import import_result
from hardware_profiles.plan import EMPTY, network_key, plan_profile
from hardware_profiles.profile import HardwareProfile, MeasureProtocol
from hardware_profiles.profile_file import read_profile
from hardware_profiles.store import ProfileStore
from hardware_profiles.table import LatencyTable
from nas.core.errors import ProfileError


@pytest.fixture
def payload(exported):
    """The agent's result, to be changed at will."""
    return json.loads(exported.result.read_text())


@pytest.fixture
def imported(exported, space, vocabulary, tmp_path):
    """Imports a result of this content."""
    def run(content, manifest=exported.manifest, blocks=vocabulary.blocks,
            **options) -> HardwareProfile:
        path = tmp_path / "result.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return import_result(read_result(path), manifest, space, blocks, vocabulary.block_ids,
                             **options)

    return run


def refused(imported, content, *, match: str, **options) -> str:
    with pytest.raises(ProfileError, match=match) as caught:
        imported(content, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_result_becomes_a_profile_of_the_named_device(
        imported, payload, exported, space, vocabulary):
    profile = imported(payload)
    assert (profile.kind, profile.device.id) == ("measured", "board-1")
    assert profile.key.version == payload["setup"]["version"]
    assert [entry.key for entry in profile.entries] == [block.key for block in vocabulary.blocks]
    assert [net.split for net in profile.subnets] == ["calib"] * 8 + ["test"] * 6
    assert profile.provenance["bundle"] == exported.manifest.id
    assert profile.protocol == exported.manifest.protocol
    for row, net in enumerate(profile.subnets):
        found = payload["models"][network_key(row)]
        assert len(net.timing.pass_ms) == len(found["passes"])
        assert net.timing.peak_bytes == found["peak_bytes"] > 0
        assert net.timing.wall_min_ms * 1e6 == pytest.approx(
            min(min(one["wall_ns"]) for one in found["passes"]))
    table = LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)
    value = table.predict("latency_ms", space.sample_codes(50, np.random.default_rng(0))).value
    assert (value > 0).all()


def test_a_gpu_is_timed_by_the_wall_clock_and_says_so(imported, payload):
    payload["setup"] |= {"provider": "CUDAExecutionProvider", "timer": "wall"}
    profile = imported(payload)
    assert profile.runtime.provider == "CUDAExecutionProvider"
    assert profile.statistic == "wall_min_median"
    assert profile.validity.wall_over_cpu is None


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_two_threads_are_timed_by_the_thread_that_waits_for_both(
        space, vocabulary, agent_runner, tmp_path):
    plan = plan_profile(space, vocabulary.blocks, vocabulary.block_ids, calib_nets=5, test_nets=4,
                        seed=0)
    manifest = write_bundle(
        tmp_path / "bundle.zip", plan, space=space, vocabulary=vocabulary.blocks, device="two",
        supernet="tiny", wish=RuntimeWish(threads=2), protocol=MeasureProtocol(
            warm_up=1, runs=5, passes=2, max_passes=2), seed=0)
    (tmp_path / "agent.py").write_bytes(agent_source())
    done = agent_runner(tmp_path, "--bundle", "bundle.zip", "--threads", "2")
    assert done.returncode == 0, done.stderr
    profile = import_result(read_result(tmp_path / "result.json"), manifest, space,
                            vocabulary.blocks, vocabulary.block_ids)
    assert profile.runtime.threads == 2
    assert profile.protocol.timer == "thread_cpu"
    assert profile.validity.wall_over_cpu >= 1.0


def test_energy_reaches_the_profile(imported, payload):
    for record in payload["models"].values():
        record["energy"] = {"mj": 3.0, "runs": 7, "watts": 5.0, "idle_watts": 2.0,
                            "source": "tegrastats"}
    profile = imported(payload)
    assert {net.timing.energy_mj for net in profile.subnets} == {3.0}
    assert profile.provenance["idle_watts"] == "2.000"
    assert profile.provenance["energy_source"] == "tegrastats"


def test_throttling_is_flagged(imported, payload):
    for state, clock in zip(payload["states"], (500, 2000, *[1500] * 9), strict=False):
        state |= {"clock_mhz": [clock, 400], "temperature_c": {"cpu": 40.0 + clock / 100},
                  "power_mode": "MAXN"}
    profile = imported(payload)
    assert any("the clock fell to 75%" in line for line in profile.validity.warnings)
    assert 1500 <= profile.device.clock_mhz <= 2000
    assert profile.device.temperature_c == 60
    assert profile.device.power_mode == "MAXN"
    payload["states"][-1]["power_mode"] = "5W"
    assert any("power mode changed" in line for line in imported(payload).validity.warnings)


def test_passes_that_slow_down_are_flagged(imported, payload):
    for record in payload["models"].values():
        for number, one in enumerate(record["passes"]):
            for name in ("cpu_ns", "wall_ns"):
                one[name] = [int((1 + 0.1 * number) * value) for value in
                             record["passes"][0][name]]
    assert any("later passes took 1." in line for line in imported(payload).validity.warnings)


def test_contention_is_flagged(imported, payload):
    for record in payload["models"].values():
        for one in record["passes"]:
            one["loop_wall_ns"] = 2 * one["loop_cpu_ns"]
    profile = imported(payload)
    assert profile.validity.wall_over_cpu == pytest.approx(2.0)
    assert any(line.startswith("contended") for line in profile.validity.warnings)


def first_pass(payload, key=EMPTY):
    return payload["models"][key]["passes"][0]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-5", "0.5", '"5"', "null"])
def test_times_that_are_no_times_are_refused(imported, payload, value):
    first_pass(payload)["cpu_ns"][2] = "HERE"
    text = json.dumps(payload).replace('"HERE"', value)
    line = refused(imported, text, match=r"damaged .*cpu_ns → 2")
    assert "run the agent again" in line


@pytest.mark.parametrize("clock", ["cpu_ns", "wall_ns"])
def test_times_of_zero_are_refused(imported, payload, clock):
    one = first_pass(payload)
    one[clock] = [0] * len(one[clock])
    refused(imported, payload, match="took no time; delete the result")


def test_a_result_of_another_bundle_is_refused(imported, payload, exported):
    other = exported.manifest.model_copy(update={"id": "0" * 16})
    refused(imported, payload, manifest=other, match="not of 0{16}; give the bundle")


def test_an_edited_model_is_refused(imported, payload):
    payload["models"][network_key(3)]["sha256"] = "0" * 64
    refused(imported, payload, match="'network 3' was measured with another file")


def test_missing_and_unknown_models_are_refused(imported, payload, vocabulary):
    record = payload["models"].pop(vocabulary.blocks[2].key)
    refused(imported, payload, match="lacks 1 of")
    payload["models"][vocabulary.blocks[2].key] = record
    payload["models"]["surplus"] = record
    refused(imported, payload, match="also holds 1 of .*'surplus'")


def test_networks_alone_make_a_few_shot_profile(imported, payload):
    payload["models"] = {key: record for key, record in payload["models"].items()
                         if key.startswith("network")}
    profile = imported(payload)
    assert (profile.kind, profile.entries) == ("fewshot", ())
    assert len(profile.subnets) == len(payload["models"])


def test_missing_passes_and_runs_are_refused(imported, payload):
    passes = payload["models"][EMPTY]["passes"]
    kept, payload["models"][EMPTY]["passes"] = passes, passes[:2]
    refused(imported, payload, match="has 2 passes, not 3")
    payload["models"][EMPTY]["passes"] = kept
    kept[0]["cpu_ns"] = kept[0]["cpu_ns"][:-1]
    refused(imported, payload, match="a pass of 9 runs, not 10")


@pytest.mark.parametrize(("changes", "message"), [
    ({"threads": 2}, "measured with threads 2, the bundle is for 1; export .* --threads 2"),
    ({"batch": 4}, "measured with batch 4"),
    ({"precision": "int8"}, "measured with precision int8"),
    ({"version": "1.2.3"}, r"claims ONNX Runtime 1\.2\.3 and was written with"),
])
def test_another_setup_than_claimed_is_refused(imported, payload, changes, message):
    payload["setup"] |= changes
    refused(imported, payload, match=message)


def test_a_space_that_has_changed_is_refused(imported, payload, vocabulary, exported):
    refused(imported, payload, blocks=vocabulary.blocks[:-1], match="another version of space")
    for changes, message in (({"space": "other/1"}, "is of space other/1"),
                             ({"codes": ((0,),) * 14}, "networks of another space")):
        other = exported.manifest.model_copy(update=changes)
        refused(imported, payload, manifest=other, match=message)


@pytest.mark.parametrize(("changes", "message"), [
    ({"schema_version": 2}, "install a newer nas-service"),
    ({"schema_version": None}, "export anew"),
    ({"complete": False}, "stopped half-way"),
    ({"complete": 1}, "stopped half-way"),
    ({"surprise": 1}, "surprise"),
])
def test_a_form_that_is_not_known_is_refused(imported, payload, changes, message):
    refused(imported, {**payload, **changes}, match=message)


def test_what_a_stopped_agent_left_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="copy it here from the device"):
        read_result(tmp_path / "result.json")
    journal = tmp_path / "result.json.journal"
    journal.write_text('{"journal":1,"bundle":"x","setup":{}}\n{"record":"state"}\n')
    with pytest.raises(ProfileError, match="stopped half-way; run the same"):
        read_result(tmp_path / "result.json")
    with pytest.raises(ProfileError, match="stopped half-way"):
        read_result(journal)
    journal.write_text('{"journal":1,"bundle":"x","setup":{}}\n')
    with pytest.raises(ProfileError, match="stopped half-way"):
        read_result(journal)


def test_a_truncated_result_is_refused(exported, tmp_path):
    data = exported.result.read_bytes()
    for size in (0, len(data) // 2, len(data) - 1):
        (tmp_path / "short.json").write_bytes(data[:size])
        with pytest.raises(ProfileError, match="truncated or damaged"):
            read_result(tmp_path / "short.json")


def test_imports_at_once_leave_a_whole_profile_at_every_moment(
        exported, space, vocabulary, tmp_path):
    store, errors, seen = ProfileStore(tmp_path), [], 0

    def run() -> None:
        try:
            for _ in range(3):
                store.save(import_result(read_result(exported.result), exported.manifest, space,
                                         vocabulary.blocks, vocabulary.block_ids))
        except Exception as error:  # a thread's exception would be lost
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for item in store.list():
            assert item.problem is None
            seen += 1
    for thread in threads:
        thread.join()
    assert errors == []
    path, = tmp_path.iterdir()  # nothing else is left behind
    assert read_profile(path).device.id == "board-1"
    assert seen


def test_a_refused_result_leaves_the_profile_as_it_was(
        payload, imported, tmp_path):
    store = ProfileStore(tmp_path / "store")
    path = store.save(imported(payload))
    before = path.read_bytes()
    first_pass(payload)["cpu_ns"][0] = float("nan")
    with pytest.raises(ProfileError):
        store.save(imported(payload))
    assert path.read_bytes() == before
    shutil.rmtree(tmp_path / "store")


def leaves(value, path=()):
    items = (value.items() if isinstance(value, dict)
             else enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def test_whatever_is_damaged_is_a_profile_or_one_line(imported, payload):
    rng = np.random.default_rng(0)
    # Short: most leaves would else be runs.
    places = [place for place in leaves(payload) if place[:1] != ("models",)]
    inside = list(leaves(payload["models"][EMPTY]))
    places += [("models", EMPTY, *place) for place in inside]
    text, messages = json.dumps(payload), []
    for _ in range(150):
        damaged = json.loads(text)
        *way, last = places[rng.integers(len(places))]
        target = damaged
        for key in way:
            target = target[key]
        values = (None, -1, 0, 1e300, 10**30, "x", [], {}, True, -0.5, [[]], "9" * 400)
        target[last] = values[rng.integers(len(values))]
        try:
            assert imported(damaged).device.id == "board-1"
        except ProfileError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
