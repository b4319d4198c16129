import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardware_profiles.host import HostConfig
from hardware_profiles.host_run import run_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import ProfileStore
from nas.core.errors import MeasurementError, ProfileError

CONFIG = HostConfig(calib_nets=5, test_nets=4, memory=False, protocol=MeasureProtocol(
    warm_up=1, runs=60, passes=2, max_passes=2))

PROGRAM = """
import pickle, sys
from pathlib import Path
from hardware_profiles.host_run import run_host
from hardware_profiles.store import ProfileStore
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
supernet, config = pickle.loads(bytes.fromhex(sys.argv[2]))
space = build_space(supernet)
vocabulary = build_vocabulary(supernet, space)
run_host(ProfileStore(Path(sys.argv[1])), space, vocabulary.blocks, vocabulary.block_ids, seed=0,
         config=config, keep_doubtful=True)
"""


class Run:
    """Measures into a store of its own and keeps what it was told."""

    def __init__(self, folder, space, vocabulary):
        self.store = ProfileStore(folder)
        self.space, self.vocabulary = space, vocabulary
        self.steps: list[tuple[int, int]] = []
        self.notices: list[str] = []

    def __call__(self, config=CONFIG, **options):
        self.steps, self.notices = [], []
        return run_host(
            self.store, self.space, self.vocabulary.blocks, self.vocabulary.block_ids, seed=0,
            config=config, notice=self.notices.append,
            progress=lambda done, total: self.steps.append((done, total)), **options)

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.store.folder.iterdir())


@pytest.fixture
def run(tmp_path, space, vocabulary):
    return Run(tmp_path, space, vocabulary)


@pytest.fixture
def neighbour():
    """Another process on the one core that this one may use."""
    before = os.sched_getaffinity(0)
    core = min(before)
    os.sched_setaffinity(0, {core})
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # inherits the core
    yield
    busy.kill()
    busy.wait()
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="puts processes on one core, as Linux can")
@pytest.mark.usefixtures("neighbour")
def test_a_contended_measurement_is_refused_and_can_be_kept(run):
    with pytest.raises(MeasurementError, match=r"contended: .* keep it with --allow-contended"):
        run(keep_doubtful=False)
    assert run.files() == [".passes"]
    measured = len(run.steps)

    kept = run(keep_doubtful=True)  # the passes of the refused one, none new
    assert measured > 0
    assert run.steps == []
    assert run.notices[0].startswith(f"going on after {measured} passes")
    assert any(line.startswith("contended: ") for line in kept.validity.warnings)
    assert kept.validity.wall_over_cpu > 1.1
    assert run.files() == [".json"]


@pytest.mark.skipif(sys.platform != "linux", reason="puts processes on one core, as Linux can")
@pytest.mark.usefixtures("neighbour")
def test_a_refused_measurement_is_made_again_where_it_is_not_to_be_kept(run):
    for attempt in range(2):
        with pytest.raises(MeasurementError, match="contended"):
            run(keep_doubtful=False)
        assert len(run.steps) > 0
        assert run.notices == (["passes of an earlier run are thrown away: they were refused"]
                               if attempt else [])


def test_a_killed_run_goes_on_where_it_was(run, config):
    given = pickle.dumps((config, CONFIG)).hex()
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run.store.folder), given],
        env={**os.environ, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(Path(__file__).parents[2])})
    lines = []
    while len(lines) < 12 and child.poll() is None:
        time.sleep(0.001)
        lines = [line for path in run.store.folder.glob("*.passes")
                 for line in path.read_bytes().splitlines(keepends=True)]
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    path, = run.store.folder.glob("*.passes")
    whole = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True)
             if line.endswith(b"\n")]
    kept = [record for record in whole if "key" in record]
    assert len(kept) >= 10

    profile = run(keep_doubtful=True)
    assert run.notices == [f"going on after {len(kept)} passes of an earlier run"]
    assert run.steps[0][0] == len(kept) + 1  # none was taken again
    assert run.steps[-1][0] == run.steps[-1][1]
    assert run.files() == [".json"]
    timings = {entry.key: entry.timing for entry in profile.entries}
    found = [timings[record["key"]].wall_min_ms <= min(record["wall_ns"]) / 1e6
             for record in kept if record["key"] in timings]
    assert found
    assert all(found)


def test_passes_taken_with_other_networks_do_not_count(run):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_host(run.store, run.space, run.vocabulary.blocks, run.vocabulary.block_ids, seed=0,
                 config=CONFIG, keep_doubtful=True, progress=stop)
    assert run.files() == [".passes"]
    run(HostConfig(calib_nets=7, test_nets=4, memory=False, protocol=CONFIG.protocol),
        keep_doubtful=True)
    assert run.notices == [
        "passes of an earlier run are thrown away: calib_nets was 5 and is 7"]
    assert run.files() == [".json"]


def test_nothing_is_measured_for_a_provider_that_is_not_there(run):
    with pytest.raises(ProfileError, match="has no CUDAExecutionProvider"):
        run(HostConfig(provider="CUDAExecutionProvider"), keep_doubtful=True)
    assert run.steps == []
    assert run.files() == []
