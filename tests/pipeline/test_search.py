"""`run_search` on a tiny supernet: the run folder, the front, resume, export."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nas.core.arch import make_arch
from nas.core.errors import InputError, RunInterrupted
from nas.export.verify import verify_bundle
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.events import Event
from nas.pipeline.export import export_subnet
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger

pytestmark = pytest.mark.usefixtures("profile_cache")

Configure = Callable[..., SearchConfig]
Comparable = Callable[[Path], dict[str, Any]]
LedgerOf = Callable[[Path], Ledger]


@pytest.fixture
def configure(tiny_folder: Path, tmp_path: Path) -> Configure:
    def make(name: str = "run", **options: Any) -> SearchConfig:
        return make_config({"supernet": str(tiny_folder), "budget": 14, "out": tmp_path / name,
                            **options})

    return make


def test_run_folder_and_payload(finished: SearchResult) -> None:
    result = finished
    found = {path.name for path in result.run_dir.iterdir()}
    assert found == {"config.toml", "profile.json", "study.journal", "pareto.json", "pareto.png",
                     "report.html", "best"}
    payload = json.loads((result.run_dir / "pareto.json").read_text())
    assert payload == json.loads(json.dumps(result.payload))
    assert payload["counts"]["evaluated"] == 14
    assert payload["space_size"] == load_supernet(payload["supernet"]).space.size
    assert payload["device"]["kind"] == "measured"
    assert payload["best"]["measured_latency_ms"] > 0
    assert verify_bundle(result.run_dir / "best").ok
    with Image.open(result.run_dir / "pareto.png") as picture:
        assert picture.size[0] > 500


def until_export(config: SearchConfig) -> list[Event]:
    """Searches and exports nothing, which would take longer than all validations."""
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        run_search(config, watch=watch)
    return seen


def test_progress_counts_every_trial(configure: Configure) -> None:
    seen = until_export(configure(budget=3))
    assert [(e.done, e.total) for e in seen if e.stage == "search"] == [(1, 3), (2, 3), (3, 3)]


def test_front_is_mutually_non_dominated_and_best_has_the_least_error(
        finished: SearchResult) -> None:
    front = finished.payload["pareto"]
    points = [(point["metrics"]["error"], point["metrics"]["latency_ms"]) for point in front]
    assert points == sorted(points)
    assert all(a[1] > b[1] for a, b in itertools.pairwise(points))


def test_test_error_is_that_of_the_recalibrated_network(finished: SearchResult) -> None:
    payload = finished.payload
    supernet = load_supernet(payload["supernet"])
    arch = make_arch(supernet.space, payload["best"]["arch"])
    module = supernet.recalibrated(arch, supernet.task.batches("train_calib"))
    found = supernet.task.metrics(module, supernet.task.batches("test"))
    assert payload["best"]["test"]["error"] == pytest.approx(found["error"], abs=100 / 48)


def test_same_seed_same_result_other_seed_other_networks(configure: Configure,
                                                         finished: SearchResult,
                                                         comparable: Comparable,
                                                         ledger_of: LedgerOf) -> None:
    again = run_search(configure("again"))
    assert comparable(again.run_dir) == comparable(finished.run_dir)
    other = configure("other", seed=1)
    until_export(other)
    assert other.out is not None
    mine, its = ({outcome.trial.arch.digest for outcome in ledger_of(run).outcomes()}
                 for run in (other.out, finished.run_dir))
    assert mine != its


@pytest.mark.parametrize("stop_at", [1, 9])
def test_interrupted_and_resumed_equals_uninterrupted(
        configure: Configure, check_equals_finished: Callable[[Path], None],
        stop_at: int) -> None:
    def stop(event: Event) -> None:
        if event.stage == "search" and event.done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="go on with: nas search --resume"):
        run_search(configure("cut"), watch=stop)
    cut = configure("cut").out
    assert cut is not None
    resume_search(cut)
    check_equals_finished(cut)


def test_resume_of_a_finished_run_changes_nothing(finished: SearchResult,
                                                  comparable: Comparable) -> None:
    result = finished
    before = {path: path.read_bytes() for path in (result.run_dir / "best").iterdir()}
    was = comparable(result.run_dir)
    resume_search(result.run_dir)
    assert comparable(result.run_dir) == was
    assert {path: path.read_bytes() for path in (result.run_dir / "best").iterdir()} == before


def test_constraints_hold_for_every_trial_and_exits_are_counted(
        configure: Configure, ledger_of: LedgerOf) -> None:
    result = run_search(configure(max_macs=80_000, max_params=6_000))
    outcomes = ledger_of(result.run_dir).outcomes()
    assert all(outcome.metrics["macs"] <= 80_000 for outcome in outcomes)
    assert all(outcome.metrics["params"] <= 6_000 for outcome in outcomes)
    counts = result.payload["counts"]
    assert counts["sampled"] == len(outcomes) + sum(counts["early_exits"].values())
    assert counts["early_exits"]["macs"] > 0


def test_impossible_constraint_leaves_no_folder(configure: Configure) -> None:
    config = configure(max_params=10)
    with pytest.raises(InputError, match=r"--max-params 10: .* smallest reachable"):
        run_search(config)
    assert config.out is not None
    assert not config.out.exists()


def test_random_search_and_a_storage_url(configure: Configure, ledger_of: LedgerOf,
                                         tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    result = run_search(configure(searcher="random", storage=url, objectives=("error",)))
    assert len(result.payload["pareto"]) == 1
    assert len(ledger_of(result.run_dir).outcomes()) == 14


def test_export_of_another_network(finished: SearchResult, tmp_path: Path) -> None:
    result = finished
    digest = result.payload["pareto"][-1]["digest"]
    bundle = export_subnet(result.run_dir, digest=digest, out=tmp_path / "mine")
    assert bundle.folder == tmp_path / "mine"
    assert verify_bundle(bundle.folder).ok
    with pytest.raises(InputError, match="exists"):
        export_subnet(result.run_dir, digest=digest, out=tmp_path / "mine")
    with pytest.raises(InputError, match="no validated network 'ffffffffffff'"):
        export_subnet(result.run_dir, digest="ffffffffffff")


def test_every_file_and_field_of_the_result_is_documented(finished: SearchResult) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-folder.md").read_text()

    def paths(value: Any, prefix: str = "") -> list[str]:
        if isinstance(value, list):
            return [prefix, *(paths(value[0], f"{prefix}[]") if value else ())]
        if not isinstance(value, dict) or prefix.rpartition(".")[2] in (
                "arch", "metrics", "test", "early_exits", "versions"):
            return [prefix]
        return [path for key, item in value.items()
                for path in paths(item, f"{prefix}.{key}".lstrip("."))]

    for name in [*paths(finished.payload), *finished.payload["best"]["metrics"]]:
        assert f"| `{name}` |" in page, name
    for path in finished.run_dir.rglob("*"):
        assert f"| `{path.name}{'/' if path.is_dir() else ''}` |" in page, path.name
