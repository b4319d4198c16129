import ast
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.agent import agent
from hardware_profiles.bundle import agent_source
from hardware_profiles.measure import agreeing_passes, pass_minima_ms
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.plan import EMPTY, network_key
from nas.core.files import sha256


@pytest.fixture
def board(exported, tmp_path) -> Path:
    """The unpacked bundle, to be changed at will."""
    with zipfile.ZipFile(exported.path) as bundle:
        bundle.extractall(tmp_path / "board")
    return tmp_path / "board"


@pytest.fixture
def fails(tmp_path):
    """Runs the agent, in this process, into an error; returns its line."""
    def run(*arguments) -> str:
        with pytest.raises(agent.AgentError) as caught:
            agent.work(agent.parse(["--out", str(tmp_path / "result.json"), *arguments]))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return run


def test_the_agent_is_one_file_of_old_syntax_with_two_dependencies():
    tree = ast.parse(agent_source(), feature_version=(3, 6))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime"}
    assert "dataclasses" not in imported  # of 3.7


def test_a_result_holds_every_pass_of_every_model(exported):
    result = json.loads(exported.result.read_text())
    protocol, manifest = exported.manifest.protocol, exported.manifest
    assert result["complete"] is True
    assert result["bundle"] == manifest.id
    assert set(result["models"]) == set(manifest.models)
    for key, record in result["models"].items():
        assert record["sha256"] == manifest.models[key].sha256
        assert protocol.passes <= len(record["passes"]) <= protocol.max_passes
        for one in record["passes"]:
            assert len(one["cpu_ns"]) == len(one["wall_ns"]) == protocol.runs
            assert 0 < sum(one["cpu_ns"]) <= one["loop_cpu_ns"]
        is_network = key.startswith("network")
        assert (record["peak_bytes"] is not None) == is_network
        assert record["energy"] is None
    assert result["setup"]["timer"] == "thread_cpu"
    assert result["machine"]["cores"] == os.cpu_count()
    assert [state["when"] for state in result["states"]][:2] == ["start", "pass 1"]
    assert not list(exported.result.parent.glob("*.journal"))


def test_the_agent_runs_from_the_zip_file_and_does_not_measure_twice(
        exported, agent_runner, tmp_path):
    (tmp_path / "agent.py").write_bytes(agent_source())
    arguments = ("--bundle", str(exported.path), "--out", "out.json", "--runs", "6", "--passes",
                 "2", "--nets-only")
    done = agent_runner(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    result = (tmp_path / "out.json").read_bytes()
    models = json.loads(result)["models"]
    assert set(models) == {network_key(row) for row in range(14)}
    for record in models.values():
        assert 2 <= len(record["passes"]) <= 3
        assert {len(one["cpu_ns"]) for one in record["passes"]} == {6}
    done = agent_runner(tmp_path, *arguments)
    assert (done.returncode, (tmp_path / "out.json").read_bytes()) == (0, result)
    assert "complete already" in done.stderr
    done = agent_runner(tmp_path, *arguments[:-1])
    assert done.returncode == 2
    assert "is something else" in done.stderr


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=3,
                         max_size=3), min_size=1, max_size=6))
def test_the_agent_judges_passes_as_the_host_does(passes):
    records, times = [], []
    for rows in passes:
        cpu, wall = (list(column) for column in zip(*rows, strict=True))
        records.append({"cpu_ns": cpu, "wall_ns": wall})
        times.append(PassTimes(np.array(cpu), np.array(wall), sum(cpu), sum(wall)))
    minima = pass_minima_ms(times)
    assert [agent.fastest_ns(one) / 1e6 for one in records] == minima.tolist()
    agreeing = len(agreeing_passes(minima, 0.05))
    for wanted in (agreeing, agreeing + 1):
        assert agent.passes_agree(records, {"tolerance": 0.05, "passes": wanted}) == (
            agreeing >= wanted)


def test_a_killed_agent_goes_on_and_loses_at_most_one_measurement(
        exported, board, agent_runner, tmp_path):
    out, journal = tmp_path / "out.json", tmp_path / "out.json.journal"
    command = [sys.executable, "-I", str(board / "agent.py"), "--out", str(out)]
    whole = 0
    for wanted in (20, 45):  # lines of the journal
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and (
                not journal.exists() or journal.read_bytes().count(b"\n") < wanted):
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not out.exists()
        whole = journal.read_bytes().count(b"\n")
        assert whole >= wanted
    with journal.open("ab") as file:
        file.write(b'{"record":"pass","key":"netw')  # as a power cut would leave it
    kept = [json.loads(line) for line in journal.read_bytes().splitlines()[:whole]]
    done = agent_runner(board, "--out", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result["models"]) == set(exported.manifest.models)
    seen = {}
    for record in kept:
        if record.get("record") == "pass":
            index = seen[record["key"]] = seen.get(record["key"], -1) + 1
            assert result["models"][record["key"]]["passes"][index] == record["times"]
    assert seen
    assert not journal.exists()


def test_ctrl_c_says_how_to_go_on(board, tmp_path):
    out = tmp_path / "out.json"
    process = subprocess.Popen([sys.executable, "-I", str(board / "agent.py"), "--out", str(out)],
                               stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out.json.journal").exists():
        time.sleep(0.005)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert not out.exists()


def test_a_journal_of_other_conditions_is_not_continued(board, fails, tmp_path):
    journal = tmp_path / "result.json.journal"
    options = agent.parse(["--bundle", str(board)])
    setup = agent.make_setup(options, agent.Bundle(str(board)).manifest)
    header = {"journal": 1, "bundle": agent.Bundle(str(board)).manifest["id"],
              "setup": {**setup, "version": "1.18.0"}}
    journal.write_text(json.dumps(header) + "\n")
    line = fails("--bundle", str(board))
    assert "version was 1.18.0 and is" in line
    assert "delete it" in line
    assert json.loads(journal.read_text()) == header


def test_two_agents_at_once_do_not_mix(board, fails, tmp_path):
    held = agent.Journal(str(tmp_path / "result.json.journal"), {"journal": 1})
    assert "another agent" in fails("--bundle", str(board))
    held.file.close()


def test_an_edited_or_missing_model_is_refused(board, exported, fails):
    victim = board / exported.manifest.models[EMPTY].file
    data = victim.read_bytes()
    victim.write_bytes(data + b"\0")
    assert "its hash differs" in fails("--bundle", str(board))
    victim.unlink()
    assert "missing or damaged" in fails("--bundle", str(board))


def test_a_truncated_zip_is_refused(exported, fails, tmp_path):
    data = exported.path.read_bytes()
    (tmp_path / "short.zip").write_bytes(data[:len(data) // 2])
    assert "cannot be read" in fails("--bundle", str(tmp_path / "short.zip"))


@pytest.mark.parametrize(("change", "message"), [
    ({"schema_version": 2}, "use the agent that came with it"),
    ({"device": "other"}, "was changed"),
])
def test_a_changed_manifest_is_refused(board, fails, change, message):
    payload = json.loads((board / "manifest.json").read_text())
    (board / "manifest.json").write_text(json.dumps({**payload, **change}))
    assert message in fails("--bundle", str(board))


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "models/../agent.py"])
def test_a_manifest_that_names_files_outside_is_refused(board, fails, name):
    payload = json.loads((board / "manifest.json").read_text())
    payload["models"][EMPTY]["file"] = name
    content = {key: value for key, value in payload.items() if key != "id"}
    payload["id"] = sha256(json.dumps(content, sort_keys=True,
                                      separators=(",", ":")).encode())[:16]
    (board / "manifest.json").write_text(json.dumps(payload))
    assert "outside itself" in fails("--bundle", str(board))


@pytest.mark.parametrize(("arguments", "message"), [
    (("--threads", "2"), "export one with --threads 2"),
    (("--ep", "tensorrt"), "has no TensorrtExecutionProvider"),
    (("--ep-option", "nothing"), "name=value"),
    (("--runs", "3"), "at least 5"),
    (("--power", "--root", "/nowhere"), "no power sensor"),
    (("--max-temp", "60", "--root", "/nowhere"), "no temperature sensor"),
    (("--bundle", "/nowhere"), "cannot be read"),
])
def test_what_cannot_be_done_is_said_before_anything_is_measured(
        board, fails, tmp_path, arguments, message):
    assert message in fails("--bundle", str(board), *arguments)
    assert not (tmp_path / "result.json").exists()


def test_an_old_runtime_is_refused(board, fails, monkeypatch):
    monkeypatch.setattr(agent.ort, "__version__", "1.11.0")
    assert "too old for these models; install 1.18" in fails("--bundle", str(board))


def fake_board(root: Path) -> None:
    files = {"proc/device-tree/model": "NVIDIA Jetson Something\0",
             "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\n",
             "proc/meminfo": "MemAvailable: 100000 kB\n",
             "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
             "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1700000\n",
             "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
             "sys/class/thermal/thermal_zone0/temp": "41500\n"}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_jetson_tells_its_mode_clocks_temperature_and_energy(
        board, agent_runner, tmp_path):
    fake_board(tmp_path / "root")
    program(tmp_path / "bin", "nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0")
    program(tmp_path / "bin", "tegrastats",
            "while :; do echo 'RAM 1/2MB CPU [1%@1] VDD_IN 5000mW/4900mW VDD_SOC 9mW/9mW'; "
            "sleep 0.02; done")
    done = agent_runner(board, "--out", "out.json", "--power", "--power-seconds", "0.2",
                        "--nets-only", "--root", str(tmp_path / "root"),
                        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    result = json.loads((board / "out.json").read_text())
    assert result["machine"]["soc"] == "NVIDIA Jetson Something"
    assert result["machine"]["l4t"].startswith("# R36")
    for state in result["states"]:
        assert state["power_mode"] == "MAXN"
        assert state["clock_mhz"] == [1500, 1700]
        assert state["temperature_c"] == {"thermal_zone0 soc-thermal": 41.5}
    for record in result["models"].values():
        energy = record["energy"]
        assert (energy["watts"], energy["idle_watts"]) == pytest.approx((5.0, 5.0))
        assert energy["source"] == "tegrastats"
        # 5 W for 0.2 s or longer, shared by the runs
        assert 1000.0 <= energy["mj"] * energy["runs"] <= 60_000.0


def test_rapl_counters_give_energy_over_their_wrap(tmp_path):
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    (zone / "intel-rapl:0:0").mkdir(parents=True)
    (zone / "max_energy_range_uj").write_text("1000000")
    (zone / "energy_uj").write_text("900000")
    sensor = agent.power_sensor(agent.Machine(str(tmp_path)))
    sensor.begin()
    (zone / "energy_uj").write_text("100000")
    joules, seconds = sensor.end()
    assert joules == pytest.approx(0.2)
    assert 0 < seconds < 1


def test_a_hot_board_waits(board, tmp_path):
    fake_board(tmp_path / "root")
    zone = tmp_path / "root/sys/class/thermal/thermal_zone0/temp"
    zone.write_text("80000\n")
    journal = tmp_path / "result.json.journal"
    seen = {}

    def cool() -> None:
        while not journal.exists() or b'"peak"' not in journal.read_bytes():
            time.sleep(0.01)
        time.sleep(0.6)
        seen["hot"] = journal.read_bytes().count(b'"record":"pass"')
        zone.write_text("50000\n")

    waiter = threading.Thread(target=cool)
    process = subprocess.Popen(
        [sys.executable, "-I", str(board / "agent.py"), "--out", str(tmp_path / "result.json"),
         "--max-temp", "60", "--root", str(tmp_path / "root")], stderr=subprocess.DEVNULL)
    waiter.start()
    waiter.join(timeout=60)
    assert process.wait(timeout=60) == 0
    assert seen == {"hot": 0}


def test_a_model_that_cannot_be_opened_is_one_line(board):
    # What a session cannot open is said with the model's name, not as a traceback.
    setup = agent.make_setup(agent.parse(["--bundle", str(board)]), agent.Bundle(
        str(board)).manifest)
    with pytest.raises(agent.AgentError, match="some model cannot be run on CPU") as caught:
        agent.Loaded("some model", b"not onnx", setup)
    assert "\n" not in str(caught.value)


def test_clocks_count_nanoseconds_on_every_python(monkeypatch):
    for name in ("thread_cpu", "wall"):
        modern = agent.clock(name)
        with monkeypatch.context() as old:
            for missing in ("thread_time_ns", "perf_counter_ns"):
                old.delattr(time, missing)
            ancient = agent.clock(name)
        for clock in (modern, ancient):
            start = clock()
            sum(range(200_000))
            assert 10**5 < clock() - start < 10**10
