"""SIGKILL right before a disk access; the long version is tests/benchmarks/bench_kill.py."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults import strike

from hardware_profiles.profile_file import read_profile
from nas.pipeline.config import make_config
from nas.pipeline.run_dir import RunDir
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger
from supernets.folder import load_folder
from supernets.mobilenet.stored import save_supernet

pytestmark = pytest.mark.usefixtures("profile_cache")


def test_a_search_killed_three_times_equals_an_uninterrupted_one(
        tiny_folder: Path, tmp_path: Path, check_equals_finished: Callable[[Path], None],
        ledger_of: Callable[[Path], Ledger]) -> None:
    out = tmp_path / "run"
    config = make_config({"supernet": str(tiny_folder), "budget": 14, "out": out})
    rng = np.random.default_rng(0)
    trials: list[object] = []

    def work() -> None:
        if out.exists():
            resume_search(out)
        else:
            run_search(config)

    for attempt in range(3):
        # Making the folder takes 4 accesses, opening the ledger about 6, each trial one.
        struck = strike(work, tmp_path, at_access=int(rng.integers(4, 8)) + 6 * (attempt == 0))
        assert struck.killed, struck.stderr
        found: list[object] = list(ledger_of(out).outcomes())
        assert found[:len(trials)] == trials
        trials = found
    assert 2 <= len(trials) < 14
    resume_search(out)
    check_equals_finished(out)


def test_a_run_folder_is_whole_or_not_there(finished: SearchResult, tmp_path: Path) -> None:
    profile = read_profile(finished.run_dir / "profile.json")
    config = make_config({"out": tmp_path / "run"})
    for access in range(1, 20):
        struck = strike(lambda: RunDir.create(config, profile), tmp_path, at_access=access)
        if (tmp_path / "run").exists():
            break
        assert struck.killed
    run, *content = RunDir.open(tmp_path / "run")
    assert content == [config, profile]
    assert 4 <= access < 19
    with run.held():  # as a resumed search does: clears away what the killed ones left
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_supernet_that_was_killed_as_it_was_saved_is_saved_by_doing_it_again(
        tiny_folder: Path, tmp_path: Path) -> None:
    supernet = load_folder(tiny_folder)
    wanted = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}

    def save() -> None:
        save_supernet(tmp_path, supernet, supernet.task, {"trained_by": "nobody"})

    for access in range(1, 20):
        struck = strike(save, tmp_path, at_access=access)
        if (tmp_path / "supernet.json").exists():
            break
        assert struck.killed
    assert 6 <= access < 19
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == wanted


@pytest.mark.slow
def test_kills_of_the_command_line() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "bench_kill.py"
    done = subprocess.run([sys.executable, str(script), "2", "--no-report"], text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
