"""Searching with zero-cost proxies and a surrogate as early exits, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.core.errors import InputError, RunInterrupted, UnknownNameError
from nas.core.protocols import Batch
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.exit_line import exit_line
from nas.pipeline.report import write_report
from nas.pipeline.search import SearchResult, resume_search, run_search

pytestmark = pytest.mark.usefixtures("profile_cache")


def search(supernet: Path, out: Path, *, watch: Watcher = silent, **options: Any) -> SearchResult:
    return run_search(make_config({"supernet": str(supernet), "budget": 32, "out": out,
                                   "proxy": ("synflow",), "surrogate": True, **options}),
                      watch=watch)


@pytest.mark.slow
def test_exits_are_reported_and_a_resumed_search_replays_them(
        tiny_folder: Path, tmp_path: Path) -> None:
    result = search(tiny_folder, tmp_path / "run")
    exits = result.payload["learned_exits"]
    assert [found["name"] for found in exits] == ["synflow", "surrogate"]
    counts = result.payload["counts"]
    assert set(counts["early_exits"]) >= {"synflow", "surrogate"}
    assert counts["sampled"] == sum(counts["early_exits"].values()) + 32
    assert exits[0]["trust"]["pairs"] == 32
    for found in exits:
        assert exit_line(found).startswith(f"early exit {found['name']}: ")
        opened = counts["early_exits"][found["name"]] > 0
        assert not opened or found["switches"]
    (result.run_dir / "pareto.json").unlink()
    again = resume_search(result.run_dir).payload
    for part in ("pareto", "counts", "learned_exits"):
        assert again[part] == result.payload[part]
    report = write_report(result.run_dir).path.read_text()
    assert "synflow" in report


def test_scores_read_the_training_split_alone(
        tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_supernet(str(tiny_folder)).task
    calibration = {x.numpy().tobytes() for batch, _ in task.batches("train_calib") for x in batch}
    seen: list[Batch] = []

    def spy(model: Any, batch: Batch, **_: Any) -> float:
        seen.append(batch)
        return float(sum(p.numel() for p in model.parameters()))

    monkeypatch.setattr("predictors.zero_cost.params.Params.__call__",
                        lambda _, model, batch, **rest: spy(model, batch, **rest))

    def until_export(event: Event) -> None:  # which takes longer than all validations
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="4 of 4 validations"):
        search(tiny_folder, tmp_path / "run", proxy=("params",), surrogate=False, budget=4,
               watch=until_export)
    assert seen
    assert {x.numpy().tobytes() for batch, _ in seen for x in batch} <= calibration


def test_what_makes_no_sense_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is known without it"):
        search(tiny_folder, tmp_path / "run", objectives=("params", "latency_ms"))
    with pytest.raises(UnknownNameError, match="unknown proxy 'gradsing'; did you mean gradsign"):
        search(tiny_folder, tmp_path / "run", proxy=("gradsing",))
    with pytest.raises(InputError, match="two early exits have one name"):
        search(tiny_folder, tmp_path / "run", proxy=("params", "params"))
    assert not (tmp_path / "run").exists()


def test_the_ledger_holds_the_scores_and_the_switches(tiny_folder: Path, tmp_path: Path) -> None:
    result = search(tiny_folder, tmp_path / "run", surrogate=False, budget=8)
    text = (result.run_dir / "study.journal").read_text()
    records = [json.loads(line) for line in text.splitlines() if "nas:batch" in line]
    gate = json.dumps(records)
    assert all(point["digest"] in gate for point in result.payload["pareto"])
    assert np.isfinite(result.payload["learned_exits"][0]["scored"])
