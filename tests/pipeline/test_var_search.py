"""`run_search` on a tiny VAR: quality, latency and key-value bytes, and what the report shows."""

import base64
import dataclasses
import html
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from var_folders import small_classifier, small_splits, small_statistics
from var_nets import SMALL, SMALL_VAE, perturbed, small_net, small_vae

from cli.search_tables import show_search
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore
from nas.core.arch import make_arch
from nas.core.errors import ConstraintError, InputError, RunInterrupted
from nas.core.problem import Objective
from nas.export.generator import Generator
from nas.export.manifest import HASHED
from nas.export.opened import open_bundle
from nas.export.verify import verify_bundle
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.design import load_design
from nas.pipeline.events import Event
from nas.pipeline.front import pareto_front
from nas.pipeline.generation import sample_grid
from nas.pipeline.metrics import METRICS
from nas.pipeline.report import write_report
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger, ledger_equal
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.memory import kv_bytes
from supernets.var.sampling import Sampling
from supernets.var.space import build_space, plan
from supernets.var.stored import save_supernet

LedgerOf = Callable[[Path], Ledger]
CONFIG = dataclasses.replace(SMALL, name="small-search/1", depth=5, depths=(2, 3, 4))
OBJECTIVES = ("error", "latency_ms", "kv_bytes")
QUICK = HostConfig(calib_nets=4, test_nets=4, memory=False, protocol=MeasureProtocol(
    warm_up=1, runs=2, passes=2, max_passes=2))


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var-supernet")
    save_supernet(folder, small_net(CONFIG), perturbed(small_vae()), small_classifier(),
                  small_splits(16), small_statistics(), {"trained_by": "nobody"})
    return folder


@pytest.fixture(scope="module")
def options(supernet: Path, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Callable[..., SearchConfig]]:
    """Makes the configuration of a short search with three objectives."""
    cache = tmp_path_factory.mktemp("var-cache")
    design = load_design(str(supernet))
    ProfileStore(cache / "profiles").save(profile_host(
        design.space, design.vocabulary, design.block_ids, seed=0, config=QUICK))

    def make(out: Path, **changes: Any) -> SearchConfig:
        return make_config({"supernet": str(supernet), "objectives": OBJECTIVES, "budget": 4,
                            "ask": 2, "searcher": "random", "out": out, **changes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        yield make


@pytest.fixture
def config(options: Callable[..., SearchConfig], tmp_path: Path) -> Callable[..., SearchConfig]:
    """The same, into a folder of the test."""
    return lambda name="run", **changes: options(tmp_path / name, **changes)


def until(stage: str, done: int, search: Callable[..., SearchResult],
          asked: SearchConfig | Path) -> Path:
    """Searches until an event, in place of which Ctrl-C comes."""
    def watch(event: Event) -> None:
        if (event.stage, event.done) == (stage, done):
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        search(asked, watch=watch)
    path = asked if isinstance(asked, Path) else asked.out
    assert path is not None
    return path


@pytest.fixture(scope="module")
def searched(options: Callable[..., SearchConfig],
             tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with all but its export, which takes longer; not to be changed."""
    return until("export", 0, run_search, options(tmp_path_factory.mktemp("var-runs") / "run"))


@pytest.mark.parametrize(("searcher", "options_of"), [
    ("evolution", {"population": 2}), ("linas", {}), ("optuna-tpe", {})])
def test_three_objectives_stopped_and_resumed_equal_a_search_that_was_not(
        config: Callable[..., SearchConfig], ledger_of: LedgerOf, searcher: str,
        options_of: dict[str, Any]) -> None:
    chosen = {"searcher": searcher, "searcher_options": options_of, "ask": 1}
    whole = until("export", 0, run_search, config("whole", **chosen))
    cut = until("search", 2, run_search, config("cut", **chosen))
    until("export", 0, resume_search, cut)
    assert ledger_equal(ledger_of(cut), ledger_of(whole))


def test_caches_are_those_of_the_network_and_within_the_bound(
        config: Callable[..., SearchConfig], ledger_of: LedgerOf) -> None:
    space = build_space(CONFIG)

    def bytes_of(arch: Any) -> int:
        return kv_bytes(CONFIG, plan(CONFIG, arch), images=1, key_bytes=4, value_bytes=4,
                        freed=True)

    least, most = (bytes_of(space.extreme(largest=largest)) for largest in (False, True))
    bound = (least + most) / 2
    run = until("export", 0, run_search, config(max_kv_mb=bound / 1e6))
    outcomes = ledger_of(run).outcomes()
    assert len(outcomes) == 4
    for outcome in outcomes:
        assert outcome.metrics["kv_bytes"] == bytes_of(outcome.trial.arch) <= bound
    with pytest.raises(ConstraintError, match=rf"--max-kv-mb 0\.001 is under the {least / 1e6:g} "
                       r"MB of the smallest subnet of small-search/1; allow more"):
        run_search(config("small", max_kv_mb=0.001))


@pytest.fixture(scope="module")
def by_distance(options: Callable[..., SearchConfig],
                tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A search by generated images, without its export, and its notes; not to be changed."""
    notes = []

    def search(asked: SearchConfig, *, watch: Callable[[Event], None]) -> SearchResult:
        def told(event: Event) -> None:
            notes.append(event.note)
            watch(event)

        return run_search(asked, watch=told)

    return until("export", 0, search, options(
        tmp_path_factory.mktemp("var-runs") / "run", quality="fid", samples=12, budget=3)), notes


def test_the_error_can_be_the_distance_of_generated_images(
        by_distance: tuple[Path, list[str]], config: Callable[..., SearchConfig],
        ledger_of: LedgerOf) -> None:
    first = ledger_of(by_distance[0]).outcomes()[0]
    supernet = load_supernet(config().supernet)
    task = supernet.task.with_measure("fid", samples=12)  # type: ignore[attr-defined]
    found = task.metrics(supernet.extract(first.trial.arch), [])
    assert first.metrics["error"] == pytest.approx(found["error"])
    with pytest.raises(InputError, match="--cascade: images are generated anew"):
        run_search(config("other", quality="fid", cascade=True))


def test_no_distance_is_shown_in_percent(
        by_distance: tuple[Path, list[str]], ledger_of: LedgerOf, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, figures = tmp_path / "run", []
    shutil.copytree(by_distance[0], run)

    class Kept(Figure):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            figures.append(self)

    def page() -> str:
        write_report(run, out=tmp_path / "report.html")
        return html.unescape((tmp_path / "report.html").read_text()).replace("\xa0", " ")

    # The results of an exported network, without the export.
    bundle = SimpleNamespace(test={"error": 345.678}, max_abs_diff=0.0, finetuned=None)
    for name, found in (("finished_bundle", bundle), ("with_generator", None),
                        ("measured_latency", 1.5)):
        monkeypatch.setattr(f"nas.pipeline.search.{name}", Mock(return_value=found))
    monkeypatch.setattr("nas.pipeline.picture.Figure", Kept)
    unfinished = page()
    payload = resume_search(run).payload
    show_search(payload)
    printed, finished = capsys.readouterr().out, page()
    outcomes = ledger_of(run).outcomes()
    objectives = [Objective(name, METRICS[name]) for name in OBJECTIVES]
    distance = f"{pareto_front(objectives, outcomes)[0].metrics['error']:.4g}"
    assert any(note.startswith("feature-FID ") and note.endswith(" ms") for note in by_distance[1])
    assert (payload["quality"]["name"], payload["quality"]["unit"]) == ("feature-FID", "")
    assert "feature-FID: Fréchet distance of 12 generated images" in printed
    assert "test feature-FID 345.7, measured 1.5" in printed
    assert f"best so far {distance} validation feature-FID at" in unfinished
    assert "345.7 test feature-FID at" in finished
    assert "Feature-FID: Fréchet distance of 12 generated images" in finished
    assert f'<td class="end">{distance}</td>' in finished
    assert [label for figure in figures for axes in figure.axes
            for label in (axes.get_xlabel(), axes.get_ylabel())] == [
        "latency_ms [ms]", "feature-FID on the search split"]
    for text in (printed, unfinished, finished, *by_distance[1]):
        assert not re.search(r"(?i)\berror( %| \[%)|\d %? ?(validation|test) error", text)
        for outcome in outcomes:
            value = outcome.metrics["error"]
            assert not re.search(rf"({value:.2f}|{value:.4g}) *%", text)


@pytest.mark.parametrize(("changes", "message"), [
    ({"samples": 10}, "--samples is for --quality fid"),
    ({"quality": "beauty"}, "--quality: "),
    ({"max_kv_mb": 0}, "--max-kv-mb: ")])
def test_options_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"objectives": ("error", "kv_bytes")}, "--objectives: kv_bytes are the key-value caches"),
    ({"max_kv_mb": 1.0}, "--max-kv-mb: kv_bytes are"),
    ({"stop_at": "kv_bytes=5"}, "--stop-at: kv_bytes are"),
    ({"quality": "fid"}, "--quality is for supernets that make images")])
def test_supernets_that_make_no_images_have_no_caches(
        tiny_folder: Path, quick_profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        changes: dict[str, Any], message: str) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(quick_profiles))
    asked = make_config({"supernet": str(tiny_folder), "out": tmp_path / "run", **changes})
    with pytest.raises(InputError, match=message):
        run_search(asked)
    assert not (tmp_path / "run").exists()


def test_the_report_shows_what_each_network_of_the_front_generates(
        searched: Path, ledger_of: LedgerOf, tmp_path: Path) -> None:
    write_report(searched, out=tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    grids = re.findall(r'src="data:image/png;base64,([^"]+)" alt="images generated by network '
                       r'(\w+)"', page)
    objectives = [Objective(name, METRICS[name]) for name in OBJECTIVES]
    front = pareto_front(objectives, ledger_of(searched).outcomes())
    assert [digest for _, digest in grids] == [outcome.trial.arch.digest for outcome in front]
    columns, rows, side = SMALL.classes, 2, SMALL_VAE.image_size
    for (data, _), outcome in zip(grids, front, strict=True):
        grid = Image.open(io.BytesIO(base64.b64decode(data)))
        assert grid.size == (columns * (side + 1) - 1, rows * (side + 1) - 1)
        assert np.asarray(grid).std() > 5
        assert f"{outcome.metrics['kv_bytes'] / 1e6:#.3g}\xa0MB" in page
    assert "key-value caches" in page
    assert "decoder of" in page  # the chosen network is drawn scale by scale


def test_grids_are_of_the_same_classes_and_seeds(supernet: Path) -> None:
    found = load_supernet(str(supernet))
    assert isinstance(found, ImageSupernet)
    archs = [found.space.extreme(largest=largest) for largest in (True, False)]
    one, other = (sample_grid(found, arch) for arch in archs)
    assert one == sample_grid(found, archs[0])
    assert one != other
    # The first image of a grid is the one that generate makes of that class, index and seed.
    made = generate(found.net, found.vae, torch.tensor([0]), archs[0], sampling=Sampling(), seed=0)
    pixels = np.asarray(Image.open(io.BytesIO(one)))[:24, :24]
    np.testing.assert_allclose(pixels, (made.images[0, 0].numpy() + 1) * 127.5, atol=0.51)


def test_a_damaged_grid_is_named(searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    path = next((run / "samples").iterdir())
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=rf"{path.name} is damaged; `nas search --resume"):
        write_report(run)


@pytest.mark.slow
def test_what_is_printed_has_the_caches_and_the_depths(
        searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    payload = resume_search(run).payload
    show_search(payload)
    printed = capsys.readouterr().out
    assert "KV bytes" in printed
    assert "cross-entropy of an image's tokens" in printed
    arch = make_arch(build_space(CONFIG), payload["best"]["arch"]).as_dict()
    assert f"bridge {arch['bridge']}" in printed
    assert "Run the ONNX file" in (run / "report.html").read_text()
    measured = payload["best"]["measured_latency_ms"]
    assert measured > 0
    assert f"measured {measured:.4f} ms" in printed
    bundle = run / "best"
    report = verify_bundle(bundle)
    assert report.ok, report
    assert "generator draws" in {check.name for check in report.checks}
    made = Generator(bundle).generate([0, 1, 2], seed=1, top_k=9)
    net = load_supernet(payload["supernet"])
    assert isinstance(net, ImageSupernet)
    wanted = generate(net.net, net.vae, torch.tensor([0, 1, 2]), make_arch(net.space, arch),
                      sampling=Sampling(top_k=9), seed=1)
    for ours, theirs in zip(wanted.tokens, made.tokens, strict=True):
        assert np.array_equal(ours.numpy(), theirs)
    # A bundle whose generator was not written yet, as after a kill, gets it.
    stopped = tmp_path / "stopped"
    shutil.copytree(searched, stopped)
    manifest = open_bundle(bundle).manifest
    shutil.copytree(bundle, stopped / "best")
    for name in manifest.generator.files if manifest.generator else ():
        (stopped / "best" / name).unlink()
    files = {name: manifest.files[name] for name in HASHED}
    (stopped / "best" / "manifest.json").write_text(
        manifest.model_copy(update={"generator": None, "files": files}).to_text())
    resume_search(stopped)
    assert verify_bundle(stopped / "best").ok
