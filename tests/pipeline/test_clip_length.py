"""Costs of speech encoders on clips of any length, and the real-time factor."""

from pathlib import Path

import numpy as np
import pytest
from speech_supernets import SAMPLES, SHORTEST, write_supernet

from cli.main import main
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.identity import generator_hash
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore
from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError, RunInterrupted
from nas.pipeline.compose import compose, load_supernet, searched_supernet
from nas.pipeline.config import make_config
from nas.pipeline.design import load_design
from nas.pipeline.events import Event, silent
from nas.pipeline.export import Extras, export_subnet
from nas.pipeline.profile import run_profile
from nas.pipeline.search import SearchResult, run_search

SECONDS = 0.3
QUICK = HostConfig(calib_nets=10, test_nets=10, memory=False, protocol=MeasureProtocol(
    warm_up=1, runs=5, passes=2, max_passes=2))


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_supernet(tmp_path_factory.mktemp("net") / "speech"))


@pytest.fixture(scope="module")
def cache(supernet: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with a profile of the space at `SECONDS`."""
    folder = tmp_path_factory.mktemp("cache")
    design = load_design(supernet, seconds=SECONDS)
    ProfileStore(folder / "profiles").save(profile_host(
        design.space, design.vocabulary, design.block_ids, seed=0, config=QUICK))
    return folder


@pytest.fixture(scope="module")
def searched(supernet: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search for real-time factors on clips of `SECONDS`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        return run_search(make_config({
            "supernet": supernet, "seconds": SECONDS, "objectives": ("error", "rtf"), "budget": 3,
            "searcher": "random", "max_rtf": 10.0, "stop_at": "rtf=1e-9",
            "out": tmp_path_factory.mktemp("runs") / "run"}))


def macs_at(name: str, seconds: float | None) -> float:
    config = make_config({"supernet": name, "seconds": seconds})
    net = searched_supernet(config)
    codes = net.space.encode([net.space.extreme(largest=True)])
    return float(ClosedFormCosts(net.vocabulary, net.block_ids).predict("macs", codes).value[0])


def test_costs_are_of_clips_of_that_length(supernet: str) -> None:
    own = macs_at(supernet, None)
    assert macs_at(supernet, SAMPLES / 16_000) == own
    assert macs_at(supernet, 2 * SAMPLES / 16_000) > 2 * own  # attention grows faster


def test_what_is_validated_stays_the_same(supernet: str) -> None:
    net = searched_supernet(make_config({"supernet": supernet, "seconds": 3.0}))
    assert net.task.example_inputs(1, np.random.default_rng(0)).shape == (1, 48_000)
    (wave, _), = list(net.task.batches("search"))
    assert wave.shape[1] == SAMPLES


def test_another_length_needs_another_profile(supernet: str) -> None:
    designs = [load_design(supernet, seconds=seconds) for seconds in (None, 0.5, SECONDS, 0.9)]
    keys = [generator_hash(design.space, design.vocabulary) for design in designs]
    assert keys[0] == keys[1]  # windows are that long
    assert len(set(keys)) == 3
    net = searched_supernet(make_config({"supernet": supernet, "seconds": SECONDS}))
    assert generator_hash(net.space, net.vocabulary) == keys[2]


def test_a_task_given_later_counts(supernet: str) -> None:
    net = load_supernet(supernet)
    before = net.vocabulary
    net.task = net.task.with_clips(1.0)  # type: ignore[attr-defined]
    assert [block.key for block in before] != [block.key for block in net.vocabulary]


def test_every_network_has_its_real_time_factor(searched: SearchResult) -> None:
    for point in searched.payload["pareto"]:
        metrics = point["metrics"]
        assert metrics["rtf"] == pytest.approx(metrics["latency_ms"] / (1000 * SECONDS))
    report = (searched.run_dir / "report.html").read_text()
    assert "real-time factor" in report
    assert "0.3\xa0s of speech" in report
    assert "The supernet is not at hand" not in report


def test_the_winner_is_timed_at_that_length(searched: SearchResult) -> None:
    best = searched.payload["best"]
    assert best["measured_latency_ms"] > 0
    bundle = export_subnet(searched.run_dir, extras=Extras(example="wav", int8=True))
    assert bundle.manifest.costs.macs == best["metrics"]["macs"]
    assert bundle.manifest.parity.sizes == {"samples": (SAMPLES, SAMPLES // 2, 2 * SAMPLES)}
    assert (bundle.folder / "infer_wav.py").is_file()
    assert bundle.manifest.int8 is not None
    assert min(bundle.manifest.int8.latency_ms.values()) > 0


def test_bounds_and_stops_by_real_time_factor(supernet: str, cache: Path,
                                              searched: SearchResult, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    base = {"supernet": supernet, "seconds": SECONDS, "searcher": "random", "budget": 2}
    assert searched.payload["stopped"] is None
    with pytest.raises(InputError, match=r"--max-rtf 1e-09: .* smallest reachable rtf is"):
        compose(make_config({**base, "max_rtf": 1e-9}), watch=silent)
    bound = searched.payload["pareto"][-1]["metrics"]["rtf"]
    parts = compose(make_config({**base, "max_rtf": 1.5 * bound}), watch=silent)
    trial, = parts.searcher.ask(1)
    metrics = parts.evaluate(trial.arch)
    assert metrics["rtf"] <= 1.5 * bound
    notes: list[str] = []

    def until_export(event: Event) -> None:  # which takes longer than all the rest
        if event.stage == "export":
            raise KeyboardInterrupt
        notes.append(event.note)

    with pytest.raises(RunInterrupted, match="1 of 2 validations"):
        run_search(make_config({**base, "stop_at": "rtf=100", "ask": 1, "out": tmp_path / "run"}),
                   watch=until_export)
    assert notes[-1].startswith("stopped: ")
    assert "rtf" in notes[-1]


@pytest.mark.usefixtures("profile_cache")
@pytest.mark.parametrize(("options", "message"), [
    ({"objectives": ("error", "rtf")}, r"--objectives: a real-time factor \(rtf\) is of speech"),
    ({"stop_at": "rtf=1"}, "--stop-at: a real-time factor"),
    ({"max_rtf": 0.5}, "--max-rtf: a real-time factor"),
    ({"seconds": 2.0}, "--seconds 2 is for supernets of speech")])
def test_images_have_no_length_in_time(tiny_folder: Path, options: dict[str, object],
                                       message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compose(make_config({"supernet": str(tiny_folder), **options}), watch=silent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("seconds", "message"), [
    (601.0, "above 0 and at most 600"), (0.02, rf"shortest clip is .*\({SHORTEST} samples\)")])
def test_no_clip_is_so_long_or_short(supernet: str, seconds: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        searched_supernet(make_config({"supernet": supernet, "seconds": seconds}))
    with pytest.raises(InputError):
        load_design(supernet, seconds=seconds)


def test_a_profile_is_of_clips_of_a_length(supernet: str, tiny_folder: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="above 0 and at most 600"):
        run_profile(supernet, seconds=float("nan"))
    assert main(["profile", "run", "--supernet", str(tiny_folder), "--seconds", "2"]) == 2
    assert "--seconds" in capsys.readouterr().err
