"""`nas search --compare`: several searchers on a tiny supernet, side by side."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.main import main
from nas.core.errors import InputError, RunInterrupted, UnknownNameError
from nas.core.problem import Objective
from nas.core.trial import Outcome
from nas.pipeline.compare import resume_comparison, run_comparison
from nas.pipeline.compare_figures import checkpoints, compared, curves
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.events import Event
from nas.pipeline.search import resume_search

pytestmark = pytest.mark.usefixtures("profile_cache")

BUDGET, SEEDS = 6, 3


def configure(supernet: Path, out: Path, **options: Any) -> SearchConfig:
    return make_config({"supernet": str(supernet), "budget": BUDGET, "seeds": SEEDS, "ask": 4,
                        "compare": ("evolution", "random"), "out": out, **options})


def result_of(folder: Path) -> dict[str, Any]:
    payload = json.loads((folder / "compare.json").read_text())
    del payload["wall_s"], payload["run_dir"]
    return dict(payload)


@pytest.fixture(scope="module")
def comparison(tiny_folder: Path, quick_profiles: Path,
               tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison, whose folder is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(quick_profiles))
        out = tmp_path_factory.mktemp("runs") / "compared"
        return run_comparison(configure(tiny_folder, out)).run_dir


def test_every_searcher_has_every_seed_and_each_network_is_validated_once(
        comparison: Path) -> None:
    payload = result_of(comparison)
    assert {row["searcher"]: row["seeds"] for row in payload["searchers"]} == {
        "evolution": SEEDS, "random": SEEDS}
    assert payload["counts"]["asked"] == 2 * SEEDS * BUDGET
    lines = (comparison / "validated.jsonl").read_text().splitlines()
    digests = [json.loads(line)[0] for line in lines]
    assert len(digests) == len(set(digests)) == payload["counts"]["validated"]
    assert {path.name for path in (comparison / "searches").iterdir()} == {
        f"{name}-{seed}" for name in ("evolution", "random") for seed in range(SEEDS)}
    with Image.open(comparison / "compare.png") as picture:
        assert picture.size[0] > 500


def test_curves_grow_within_the_common_box(comparison: Path) -> None:
    payload = result_of(comparison)
    for volumes in map(np.array, payload["curves"].values()):
        assert volumes.shape == (SEEDS, BUDGET)
        assert (np.diff(volumes, axis=1) >= 0).all()
        assert 0 <= volumes.min() <= volumes.max() <= 1
    assert all(payload["reference"][name] >= payload["ideal"][name]
               for name in payload["objectives"])


@pytest.mark.parametrize("stop_at", [1, 17])
def test_interrupted_and_resumed_equals_uninterrupted(
        tiny_folder: Path, tmp_path: Path, comparison: Path, stop_at: int) -> None:
    def stop(event: Event) -> None:
        if event.stage == "compare" and event.done == stop_at:
            raise KeyboardInterrupt

    out = tmp_path / "cut"
    with pytest.raises(RunInterrupted, match=f"after {stop_at} of 36 .* nas search --resume"):
        run_comparison(configure(tiny_folder, out), watch=stop)
    done = (out / "validated.jsonl").read_text().splitlines()
    assert main(["search", "--resume", str(out), "--json"]) == 0
    assert result_of(out) == result_of(comparison)
    assert (out / "validated.jsonl").read_text().splitlines()[:len(done)] == done


def test_a_torn_line_is_cut_off_and_a_damaged_one_named(comparison: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(comparison, tmp_path / "copy")
    with (copy / "validated.jsonl").open("a") as file:
        file.write('["0123456789ab", {"err')
    resume_comparison(copy)
    assert result_of(copy) == result_of(comparison)
    text = (copy / "validated.jsonl").read_text()
    assert text.endswith("}]\n")
    (copy / "validated.jsonl").write_text("nonsense\n" + text)
    with pytest.raises(InputError, match=r"validated\.jsonl, line 1 is damaged"):
        resume_comparison(copy)


def test_it_is_no_search_and_a_search_is_no_comparison(comparison: Path) -> None:
    with pytest.raises(InputError, match="holds a comparison"):
        resume_search(comparison)


def test_unknown_searcher_leaves_no_folder(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown searcher 'rnadom'; did you mean random"):
        run_comparison(configure(tiny_folder, tmp_path / "run", compare=("evolution", "rnadom")))
    assert not (tmp_path / "run").exists()


def test_table_on_the_terminal(comparison: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--resume", str(comparison)]) == 0
    shown = capsys.readouterr().out
    for part in ("evolution", "random", "after 2", "after 3", "after 6", "catches up", "wins",
                 "95 % interval", "compare.png"):
        assert part in shown


def test_every_field_of_the_result_is_documented(comparison: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-folder.md").read_text()
    payload = json.loads((comparison / "compare.json").read_text())
    for name in payload:
        assert f"| `{name}` |" in page, name
    for name in payload["searchers"][0]:
        assert f"| `searchers[].{name}` |" in page, name
    for name in payload["searchers"][0]["at"][0]:
        assert f"| `searchers[].at[].{name}` |" in page, name
    for path in comparison.iterdir():
        assert f"| `{path.name}{'/' if path.is_dir() else ''}` |" in page, path.name


def outcome(number: int, error: float | None, latency_ms: float = 1.0) -> Outcome:
    from nas.core.arch import Arch
    from nas.core.trial import Trial

    trial = Trial(number, Arch("toy/1", (("a", number),)))
    if error is None:
        return Outcome(trial, error="RuntimeError: no")
    return Outcome(trial, {"error": error, "latency_ms": latency_ms})


OBJECTIVES = (Objective("error", "%"), Objective("latency_ms", "ms"))


def test_figures_by_hand() -> None:
    good = [outcome(0, 10.0, 3.0), outcome(1, 6.0, 2.0), outcome(2, 6.0, 1.0)]
    poor = [outcome(0, 10.0, 3.0), outcome(1, None), outcome(2, 8.0, 2.0)]
    found = curves(OBJECTIVES, {"poor": [poor], "good": [good]}, 3)
    assert found.reference.tolist() == [10.0, 3.0]
    assert found.ideal.tolist() == [6.0, 1.0]
    assert found.volumes["good"].tolist() == [[0.0, 0.5, 1.0]]
    assert found.volumes["poor"].tolist() == [[0.0, 0.0, 0.25]]
    first, second = compared(found)
    assert [first["searcher"], first["wins"], first["reaches_lowest"]] == ["good", 1, 2]
    assert [second["searcher"], second["wins"], second["reaches_lowest"]] == ["poor", 0, 3]
    assert [at["median"] for at in first["at"]] == [0.0, 0.5, 1.0]
    assert all(at["ci95"] is None for at in first["at"])


def test_a_run_that_ended_early_stays_where_it_was() -> None:
    found = curves(OBJECTIVES, {"a": [[outcome(0, 2.0, 1.0), outcome(1, 1.0, 0.5)]]}, 5)
    assert found.volumes["a"].tolist() == [[0.0, 1.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize(("budget", "expected"), [(64, [16, 32, 64]), (6, [2, 3, 6]), (1, [1])])
def test_checkpoints(budget: int, expected: list[int]) -> None:
    assert checkpoints(budget) == expected
