"""Stop rules, the cascade, executors and shared studies of `nas search`, on a tiny supernet."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nas.core.errors import LedgerError, RunInterrupted
from nas.evaluation.halving import HalvingConfig
from nas.execution.serial import SerialExecutor
from nas.pipeline.config import SearchConfig, config_text, make_config, read_config
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.reporting.command import command_line
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger, ledger_equal
from supernets.mobilenet.stored import save_supernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages

pytestmark = pytest.mark.usefixtures("profile_cache")

Comparable = Callable[[Path], dict[str, Any]]
LedgerOf = Callable[[Path], Ledger]


@pytest.fixture
def search(tiny_folder: Path, tmp_path: Path) -> Callable[..., SearchResult]:
    def run(name: str = "run", *, watch: Watcher = silent, **options: Any) -> SearchResult:
        return run_search(make_config({"supernet": str(tiny_folder), "budget": 14, "ask": 4,
                                       "out": tmp_path / name, **options}), watch=watch)

    return run


def test_a_target_stops_the_search_and_everything_says_so(
        search: Callable[..., SearchResult], comparable: Comparable, ledger_of: LedgerOf) -> None:
    notes: list[str] = []
    result = search(stop_at="error=100,params=1000000",
                    watch=lambda event: notes.append(event.note))
    reason = result.payload["stopped"]
    assert "meets error ≤ 100, params ≤ 1e+06" in reason
    assert result.payload["counts"]["evaluated"] == 4  # the first batch
    assert f"stopped: {reason}" in notes
    assert "Stopped early, after 4 of 14 validations: network" in (
        result.run_dir / "report.html").read_text()
    before = comparable(result.run_dir)
    (result.run_dir / "pareto.json").unlink()
    resume_search(result.run_dir)
    assert comparable(result.run_dir) == before
    assert len(ledger_of(result.run_dir).outcomes()) == 4


def test_a_target_out_of_reach_stops_nothing(search: Callable[..., SearchResult],
                                             ledger_of: LedgerOf,
                                             finished: SearchResult) -> None:
    result = search(stop_at={"error": 0.0})
    assert result.payload["stopped"] is None
    assert ledger_equal(ledger_of(result.run_dir), ledger_of(finished.run_dir))


def test_patience(search: Callable[..., SearchResult]) -> None:
    # One objective and few networks: the best comes early.
    result = search(patience=4, budget=60, objectives=("params",), searcher="random")
    assert "last 4 full validations" in result.payload["stopped"]
    assert 12 <= result.payload["counts"]["evaluated"] < 60


def test_no_batch_begins_after_the_time_limit(search: Callable[..., SearchResult]) -> None:
    result = search(time_limit=1e-6)
    assert result.payload["counts"]["evaluated"] == 4
    assert "time limit" in result.payload["stopped"]


@pytest.fixture(scope="module", autouse=True)
def _eager() -> Iterator[None]:
    """Halving is in use from 8 pairs on, whatever they say; nothing is exported, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.pipeline.search.measure_file",
                      lambda *_, **__: SimpleNamespace(latency_ms=1.0))
        patch.setattr("nas.pipeline.search.export_network", lambda *_, **__: SimpleNamespace(
            folder=Path(), test={"error": 0.0}, max_abs_diff=0.0, finetuned=None))
        patch.setattr(HalvingConfig.__init__, "__kwdefaults__", {
            **HalvingConfig.__init__.__kwdefaults__, "pairs": 8, "least": -0.999})
        yield


@pytest.fixture(scope="module")
def wide_folder(make_tiny_supernet: Callable[..., Any], tiny_task: ImageClassification,
                tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny supernet with a search split of three batches."""
    rng = np.random.default_rng(1)
    split = LabelledImages(rng.integers(0, 256, (300, 16, 16), dtype=np.uint8),
                           rng.integers(0, 5, 300, dtype=np.uint8))
    task = replace(tiny_task, splits={**tiny_task.splits, "search": split})
    folder = tmp_path_factory.mktemp("wide-supernet")
    save_supernet(folder, make_tiny_supernet(task), task, {"trained_by": "nobody"})
    return str(folder)


@pytest.fixture(scope="module")
def cascaded(wide_folder: str, quick_profiles: Path,
             tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search with halving, whose folder is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(quick_profiles))
        return run_search(make_config({
            "supernet": wide_folder, "budget": 20, "ask": 4, "cascade": True,
            "out": tmp_path_factory.mktemp("runs") / "cascaded"}))


def test_cascade_reports_what_was_cut_short_and_keeps_it_off_the_front(
        cascaded: SearchResult, ledger_of: LedgerOf) -> None:
    outcomes = ledger_of(cascaded.run_dir).outcomes()
    part = [outcome for outcome in outcomes if outcome.ok and not outcome.final]
    full = {outcome.trial.arch.digest for outcome in outcomes if outcome.final}
    assert part
    counts = cascaded.payload["counts"]
    assert (counts["evaluated"], counts["partial"]) == (len(full), len(part))
    assert counts["partial_cost"] == pytest.approx(len(part) * 192 / 364, abs=1e-4)
    assert 19 < counts["evaluated"] + counts["partial_cost"] <= 20
    cascade = cascaded.payload["cascade"]
    assert (cascade["images"], cascade["of"], cascade["eta"]) == (128, 300, 3)
    assert cascade["trust"]["pairs"] == len(full)
    assert {point["digest"] for point in cascaded.payload["pareto"]} <= full
    assert all("error_128" in point["metrics"] for point in cascaded.payload["pareto"])
    page = (cascaded.run_dir / "report.html").read_text()
    assert f"{len(part)} more were validated on a part of the images alone" in page
    assert "cascade: 128 of 300 images first" in page


@pytest.mark.parametrize("stop_at", [5, 17])  # within the first batch, and in one that is halved
def test_cascade_interrupted_and_resumed_equals_uninterrupted(
        search: Callable[..., SearchResult], cascaded: SearchResult, wide_folder: str,
        comparable: Comparable, ledger_of: LedgerOf, tmp_path: Path, stop_at: int) -> None:
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if sum(event.stage == "search" for event in seen) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="go on with"):
        search("cut", supernet=wide_folder, budget=20, cascade=True, watch=stop)
    resume_search(tmp_path / "cut")
    assert ledger_equal(ledger_of(tmp_path / "cut"), ledger_of(cascaded.run_dir))
    assert comparable(tmp_path / "cut") == comparable(cascaded.run_dir)


def test_it_may_go_on_with_another_executor(search: Callable[..., SearchResult],
                                            ledger_of: LedgerOf, finished: SearchResult,
                                            monkeypatch: pytest.MonkeyPatch,
                                            tmp_path: Path) -> None:
    closed: list[bool] = []
    close = SerialExecutor.close

    def noted(self: SerialExecutor) -> None:
        closed.append(True)
        close(self)

    def stop(event: Event) -> None:
        if event.stage == "search" and event.done == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(SerialExecutor, "close", noted)
    with pytest.raises(RunInterrupted, match="go on with"):
        search("cut", watch=stop)
    assert closed == [True]  # also where it was stopped
    resume_search(tmp_path / "cut",
                  execution={"executor": "nas.execution.serial:SerialExecutor", "attempts": 1})
    assert ledger_equal(ledger_of(tmp_path / "cut"), ledger_of(finished.run_dir))


def test_joining_a_finished_study_gives_its_results(
        search: Callable[..., SearchResult], comparable: Comparable, ledger_of: LedgerOf,
        tmp_path: Path) -> None:
    shared = {"storage": f"sqlite:///{tmp_path / 'trials.db'}", "study": "mine", "join": True}
    first = search("first", **shared)
    second = search("second", **shared)
    assert comparable(second.run_dir) == comparable(first.run_dir)
    assert len(ledger_of(second.run_dir).outcomes()) == 14
    with pytest.raises(LedgerError, match=r"of another search: budget is 14 there and 15 here"):
        search("third", **shared, budget=15)


@pytest.mark.slow
def test_two_processes_share_the_work(tiny_folder: Path, tmp_path: Path,
                                      ledger_of: LedgerOf) -> None:
    def command(name: str) -> list[str]:
        return [sys.executable, "-c", "from cli.main import run; run()", "search", "--supernet",
                str(tiny_folder), "--budget", "40", "--storage",
                f"sqlite:///{tmp_path / 'trials.db'}", "--study", "both", "--join", "--out",
                str(tmp_path / name), "--json"]

    running = [subprocess.Popen(command(name), stdout=subprocess.PIPE, text=True)
               for name in ("one", "two")]
    payloads = [json.loads(process.communicate()[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert payloads[0]["pareto"] == payloads[1]["pareto"]
    digests = [o.trial.arch.digest for o in ledger_of(tmp_path / "one").outcomes()]
    assert len(digests) == len(set(digests)) == 40


def test_the_report_has_the_command_with_all_its_options(tmp_path: Path) -> None:
    config = SearchConfig(
        searcher_options=("population=12", "mutation=0.2"), stop_at="error=8.0,latency_ms=1.2",
        time_limit="10m", cascade=True, executor="process", workers=2)
    line = command_line(config)
    for part in ("--searcher-option population=12 --searcher-option mutation=0.2",
                 "--stop-at error=8.0,latency_ms=1.2", "--time-limit 600.0", "--cascade",
                 "--executor process --workers 2"):
        assert part in line
    path = tmp_path / "config.toml"
    path.write_text(config_text(config))
    assert make_config(read_config(path)) == config
