"""`run_search` on a tiny speech supernet: clips of held-out speakers, every kind of searcher."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hubert_nets import make_supernet
from safetensors.numpy import load_file
from speech_folders import PATTERN, write_tones
from speech_supernets import CONFIG, DIM, windows
from timm_trainings import quick_profile
from torch import nn

from cli.search_tables import show_search
from hardware_profiles.store import CACHE_VARIABLE
from nas.core.arch import make_arch
from nas.core.errors import DataError, InputError, RunInterrupted
from nas.core.protocols import quality_of
from nas.export.verify import verify_bundle
from nas.pipeline.compose import searched_supernet
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.events import Event
from nas.pipeline.export import Extras, export_subnet
from nas.pipeline.rank import RankRequest, rank
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger, ledger_equal
from supernets.hubert.stored import save_supernet
from supernets.tasks.probed_speech import FEWEST

LedgerOf = Callable[[Path], Ledger]
Options = Callable[..., SearchConfig]


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights and enough windows for a proxy."""
    folder = tmp_path_factory.mktemp("speech-supernet")
    save_supernet(folder, make_supernet(CONFIG, target_dim=DIM),
                  {split: windows(count, seed=count) for split, count in
                   (("train_calib", 32), ("search", 20), ("test", 17))}, {"trained_by": "nobody"})
    return folder


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), takes=6)


@pytest.fixture(scope="module")
def cache(supernet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech-cache")
    quick_profile(supernet, folder)
    return folder


@pytest.fixture(scope="module")
def options(supernet: Path, tones: Path, cache: Path) -> Iterator[Callable[..., SearchConfig]]:
    """Makes the configuration of a short search on the clips."""
    def make(out: Path, **changes: Any) -> SearchConfig:
        return make_config({"supernet": str(supernet), "budget": 4, "ask": 2, "searcher": "random",
                            "out": out, "data": tones, "pattern": PATTERN, **changes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        yield make


@pytest.fixture
def config(options: Callable[..., SearchConfig], tmp_path: Path) -> Options:
    """The same, into a folder of the test."""
    return lambda name="run", **changes: options(tmp_path / name, **changes)


@pytest.fixture(scope="module")
def searched(options: Callable[..., SearchConfig],
             tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A finished search that was stopped once before its end; not to be changed."""
    config = options(tmp_path_factory.mktemp("runs") / "run")
    return resume_search(until_export(run_search, config))


def until_export(search: Callable[..., SearchResult], asked: SearchConfig | Path) -> Path:
    """Searches and exports nothing, which would take longer than all validations."""
    def watch(event: Event) -> None:
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="4 of 4 validations"):
        search(asked, watch=watch)
    path = asked if isinstance(asked, Path) else asked.out
    assert path is not None
    return path


def test_networks_are_validated_on_speakers_that_no_head_has_learnt_from(
        config: Options, searched: SearchResult) -> None:
    payload = searched.payload
    task = searched_supernet(config()).task
    assert task.clips.training.classes("speaker") == ("ann", "ben")  # type: ignore[attr-defined]
    assert payload["quality"]["inputs"] == "clips"
    assert payload["quality"]["error"].endswith("searched on speaker cat, tested on speaker dan")
    eighteenth = 100 / 18  # each speaker has so many clips
    for error in (payload["best"]["test"]["error"], payload["pareto"][0]["metrics"]["error"]):
        assert error / eighteenth == pytest.approx(round(error / eighteenth))
        assert error < 200 / 3  # tones are told apart, by random weights too


def test_what_people_read_is_of_speech(searched: SearchResult,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    page = (searched.run_dir / "report.html").read_text()
    assert "Error: clips whose label" in page
    assert "clips no search saw" in page
    assert "steps of" in page
    assert "frames, width" in page
    assert "image" not in page
    assert "logits" not in page
    show_search(searched.payload)
    printed = capsys.readouterr().out
    assert "error: clips whose label" in printed
    best = searched.payload["best"]["arch"]
    assert f"{best['depth']}×{best['embed']}" in printed


def test_the_exported_file_is_compared_on_clips_of_the_test_speakers(
        config: Options, searched: SearchResult) -> None:
    assert verify_bundle(searched.run_dir / "best").ok
    inputs = load_file(searched.run_dir / "best" / "reference.safetensors")["inputs"]
    clips = searched_supernet(config()).task.clips.splits["test"]  # type: ignore[attr-defined]
    assert len(inputs) == FEWEST
    assert inputs.shape[1] == np.sort(clips.samples)[-FEWEST]
    np.testing.assert_allclose(inputs.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(1), 1, atol=1e-3)
    waves = [clip[:inputs.shape[1]] for clip in clips if len(clip) >= inputs.shape[1]]
    assert all(max(np.corrcoef(row, wave)[0, 1] for wave in waves) > 0.999 for row in inputs)


@pytest.mark.slow
def test_any_network_of_the_run_can_be_exported(config: Options, searched: SearchResult,
                                                tmp_path: Path) -> None:
    best = searched.payload["best"]
    bundle = export_subnet(searched.run_dir, digest=best["digest"], out=tmp_path / "again")
    assert bundle.test == best["test"]
    int8 = export_subnet(searched.run_dir, digest=best["digest"], out=tmp_path / "again",
                         extras=Extras(int8=True)).manifest.int8
    assert int8 is not None
    supernet = searched_supernet(config())
    network = supernet.extract(make_arch(supernet.space, best["arch"]))
    # A file has the last hidden state alone, and so has what stands around the network here.
    last = supernet.task.metrics(nn.Sequential(network), supernet.task.batches("test"))["error"]
    assert int8.test["model.onnx"]["error"] == pytest.approx(last, abs=100 / 18 + 1e-6)
    assert 0 <= int8.test["model_int8.onnx"]["error"] <= 100


@pytest.mark.parametrize(("searcher", "options_of"), [
    ("nsga2", {"population": 2}), ("evolution", {"population": 2}), ("linas", {}),
    ("optuna-tpe", {})])
def test_any_searcher_stopped_and_resumed_equals_one_that_was_not(
        config: Options, ledger_of: LedgerOf, searcher: str, options_of: dict[str, Any]) -> None:
    chosen = {"searcher": searcher, "searcher_options": options_of, "ask": 1}

    def stop(event: Event) -> None:
        if event.stage == "search" and event.done == 2:
            raise KeyboardInterrupt

    whole = until_export(run_search, config("whole", **chosen))
    cut = config("cut", **chosen)
    with pytest.raises(RunInterrupted, match="2 of 4 validations"):
        run_search(cut, watch=stop)
    assert cut.out is not None
    until_export(resume_search, cut.out)
    assert ledger_equal(ledger_of(cut.out), ledger_of(whole))


@pytest.mark.slow
def test_proxies_and_a_surrogate_go_before_the_probe(config: Options, ledger_of: LedgerOf) -> None:
    chosen = {"proxy": ("gradsign",), "surrogate": True, "searcher": "evolution", "ask": 1}
    runs = [until_export(run_search, config(name, **chosen)) for name in ("one", "two")]
    assert ledger_equal(*(ledger_of(run) for run in runs))
    asked = config("three", proxy=("gradsign", "epe_nas"))
    with pytest.raises(InputError, match="epe_nas needs one integer label for every sample"):
        run_search(asked)
    assert asked.out is not None
    assert not asked.out.exists()


def test_proxies_rank_encoders(supernet: Path, tmp_path: Path) -> None:
    found = rank(RankRequest(supernet=str(supernet), proxies=("gradsign", "naswot", "macs"), n=4,
                             batch=8, against="validation", out=tmp_path / "rank")).payload
    assert [row["unscored"] for row in found["proxies"]] == [0, 0, 0]
    assert all(-1 <= row["spearman"] <= 1 for row in found["proxies"])
    with pytest.raises(InputError, match="fisher: the weight of"):
        rank(RankRequest(supernet=str(supernet), proxies=("fisher",), n=3, batch=8,
                         out=tmp_path / "other"))


@pytest.mark.slow
def test_workers_find_what_one_process_finds(config: Options, searched: SearchResult,
                                             ledger_of: LedgerOf) -> None:
    there = until_export(run_search, config(executor="process", workers=2))
    assert ledger_equal(ledger_of(there), ledger_of(searched.run_dir))


def test_other_clips_are_another_search(config: Options, tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "own", takes=6)
    run = until_export(run_search, config(data=tones))
    (tones / "low_ann_0.wav").rename(tones / "low_ann_9.wav")
    with pytest.raises(InputError, match="clips"):
        resume_search(run)


@pytest.mark.slow
def test_without_clips_the_error_is_the_distillation_loss(config: Options) -> None:
    run = run_search(config(data=None, pattern=None))
    assert run.payload["quality"] == {
        "error": "distance from the teacher's features, in % of that of a network that has "
                 "learnt nothing", "inputs": "windows", "name": "error", "unit": "%"}
    page = (run.run_dir / "report.html").read_text()
    assert "windows no search saw" in page
    assert "image" not in page
    assert run.payload["best"]["test"]["error"] > 90.0  # it has learnt nothing


def test_a_speaker_can_be_told_instead(config: Options, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"8 clips of .* at least; add clips"):
        searched_supernet(config(field="speaker"))
    many = write_tones(tmp_path / "many", takes=14)
    supernet = searched_supernet(config(field="speaker", data=many))
    task = supernet.task
    assert "clips whose speaker" in quality_of(task).error
    assert task.clips.labels == ("ann", "ben", "cat", "dan")  # type: ignore[attr-defined]
    network = supernet.extract(supernet.space.extreme(largest=True))
    assert task.metrics(network, task.batches("search"))["error"] < 75.0


@pytest.mark.parametrize(("given", "split"), [
    ({}, ("cat", "dan")),
    ({"test_speakers": ("ann",)}, ("dan", "ann")),
    ({"search_speakers": ("dan",)}, ("dan", "cat")),
    ({"search_speakers": ("ann",), "test_speakers": ("cat", "ben")}, ("ann", "ben cat"))])
def test_speakers_who_are_not_named_are_the_last_ones(config: Options, given: dict[str, Any],
                                                      split: tuple[str, str]) -> None:
    told: list[str] = []
    task = searched_supernet(config(**given), watch=lambda event: told.append(event.note)).task
    splits = task.clips.splits  # type: ignore[attr-defined]
    assert tuple(" ".join(splits[name].classes("speaker")) for name in ("search", "test")) == split
    assert told[-1] == task.held_out  # type: ignore[attr-defined]


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"pattern": None}, DataError, "nothing says the label .* give a --pattern"),
    ({"pattern": "{label}_{take}.wav"}, DataError, "nothing says the speaker .* a --pattern"),
    ({"pattern": "{label}{speaker}.wav"}, InputError, "must have fields"),
    ({"pattern": "{speaker}_{label}_{take}.wav", "test_speakers": ("low",),
      "search_speakers": ("eve",)}, DataError, "no clip is of speaker 'eve'"),
    ({"test_speakers": ("ann",), "search_speakers": ("ann",)}, DataError, "in search and in test"),
    ({"data": Path("nowhere")}, DataError, "nowhere is no folder"),
    ({"cascade": True}, InputError, "--cascade: .* drop it"),
    ({"evaluation": "trained"}, InputError, "use --evaluation inherited")])
def test_clips_that_cannot_be_searched_on(config: Options, changes: dict[str, Any],
                                          error: type[Exception], message: str) -> None:
    asked = config(**changes)
    with pytest.raises(error, match=message):
        run_search(asked)
    assert asked.out is not None
    assert not asked.out.exists()


@pytest.mark.parametrize(("speakers", "takes", "message"), [
    (("ann", "ben"), 6, "are of 2 speaker.* search with --field speaker"),
    (("ann", "ben", "cat"), 2, "6 clips of .* name more --test-speakers")])
def test_too_few_speakers_or_clips(config: Options, tmp_path: Path, speakers: tuple[str, ...],
                                   takes: int, message: str) -> None:
    root = write_tones(tmp_path / "own", takes=takes)
    for path in root.iterdir():
        if path.name.split("_")[1] not in speakers:
            path.unlink()
    with pytest.raises(DataError, match=message):
        searched_supernet(config(data=root))


@pytest.mark.parametrize(("changes", "message"), [
    ({"pattern": PATTERN}, "--pattern says which clips of --data are what"),
    ({"resample": True}, "--resample says which clips"),
    ({"data": "x", "field": "speaker", "test_speakers": ("a",)}, "--field speaker is to tell"),
    ({"data": "x", "field": "age"}, "--field: ")])
def test_options_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(changes)
