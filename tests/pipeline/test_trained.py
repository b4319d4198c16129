"""`nas search --evaluation trained`: the ledger, the exported weights, and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import DataError, InputError
from nas.core.resources import Resources
from nas.execution.ray_cluster import connect, disconnect
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.export import export_subnet
from nas.pipeline.reporting.command import command_line
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger, ledger_equal
from supernets.mobilenet.stored import save_supernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages

pytestmark = pytest.mark.usefixtures("profile_cache")

LedgerOf = Callable[[Path], Ledger]


@pytest.fixture(scope="module")
def folder(tiny_task: ImageClassification, make_tiny_supernet: Any,
           tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny supernet with a batch of training images."""
    rng = np.random.default_rng(1)
    images = LabelledImages(rng.integers(0, 256, (128, 16, 16), dtype=np.uint8),
                            (np.arange(128) % 5).astype(np.uint8))
    task = replace(tiny_task, splits={**tiny_task.splits, "train_calib": images})
    path = tmp_path_factory.mktemp("supernet")
    save_supernet(path, make_tiny_supernet(task), task, {"trained_by": "nobody"})
    return path


def options(folder: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return {"supernet": str(folder), "evaluation": "trained", "train_epochs": 2, "budget": 4,
            "ask": 4, "executor": "serial", "out": out, **changes}


@pytest.fixture(scope="module")
def serial(folder: Path, quick_profiles: Path,
           tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """Every network trained to its end; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        return run_search(make_config(options(folder, tmp_path_factory.mktemp("runs") / "run")))


@pytest.fixture
def ray_for_all() -> Iterator[None]:
    connection = connect(Resources(workers=2), 1)
    yield
    disconnect(connection)


def test_the_winner_is_exported_with_the_weights_that_it_was_trained_to(
        serial: SearchResult) -> None:
    best = serial.payload["best"]
    trained = load_file(serial.run_dir / "training" / f"{best['digest']}.safetensors")
    exported = load_file(serial.run_dir / "best" / "model.safetensors")
    assert trained.keys() == exported.keys()
    assert all(torch.equal(trained[name], exported[name]) for name in trained)
    manifest = json.loads((serial.run_dir / "best" / "manifest.json").read_text())
    assert manifest["provenance"]["weights"] == "trained for 2 epochs from inherited weights"
    assert serial.payload["counts"]["evaluated"] == 4


def test_any_network_of_the_front_can_be_exported(serial: SearchResult, tmp_path: Path) -> None:
    digest = serial.payload["pareto"][-1]["digest"]
    bundle = export_subnet(serial.run_dir, digest=digest, out=tmp_path / "bundle")
    trained = load_file(serial.run_dir / "training" / f"{digest}.safetensors")
    exported = load_file(bundle.folder / "model.safetensors")
    assert all(torch.equal(trained[name], exported[name]) for name in trained)


@pytest.mark.usefixtures("ray_for_all")
def test_tune_finds_what_serial_finds_or_stops_it_early(
        serial: SearchResult, folder: Path, tmp_path: Path, ledger_of: LedgerOf) -> None:
    config = make_config(options(folder, tmp_path / "run", executor="tune", workers=2))
    result = run_search(config)
    expected = {o.trial.id: o for o in ledger_of(serial.run_dir).outcomes()}
    # The first batch is the same; what it saved may have been spent on another.
    found = [o for o in ledger_of(result.run_dir).outcomes() if o.trial.id in expected]
    assert len(found) == 4
    for outcome in found:
        mine = expected[outcome.trial.id]
        assert outcome.trial == mine.trial
        if outcome.final:
            assert outcome.metrics == mine.metrics
        else:
            assert (outcome.stage, outcome.cost) == ("partial", 0.5)
    finals = {o.trial.arch.digest for o in ledger_of(result.run_dir).outcomes() if o.final}
    assert {point["digest"] for point in result.payload["pareto"]} <= finals
    names = {path.stem for path in (result.run_dir / "training").glob("*.safetensors")}
    assert names == finals
    assert not list((result.run_dir / "training").glob("*.pt"))


def test_a_finished_run_goes_on_without_training(serial: SearchResult) -> None:
    times = {path: path.stat().st_mtime_ns for path in (serial.run_dir / "training").iterdir()}
    resume_search(serial.run_dir)
    assert times == {path: path.stat().st_mtime_ns
                     for path in (serial.run_dir / "training").iterdir()}


def test_other_images_are_another_search(folder: Path, tmp_path: Path, idx_folder: Path) -> None:
    with pytest.raises(DataError, match="fewer than one batch of 128"):
        run_search(make_config(options(folder, tmp_path / "run", data=idx_folder)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"evaluation": "inherited", "train_epochs": 3}, "--train-epochs is for --evaluation trained"),
    ({"evaluation": "inherited", "executor": "tune"}, "it needs --evaluation trained"),
    ({"cascade": True}, "drop it from --evaluation trained"),
    ({"compare": ("random", "evolution")}, "drop --evaluation trained"),
    ({"train_epochs": 0}, "--train-epochs: .* greater than or equal to 1"),
    ({"train_lr": 0.0}, "--train-lr: .* greater than 0"),
    ({"train_from": "zero"}, "--train-from: "),
    ({"evaluation": "guessed"}, "--evaluation: ")])
def test_options_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config({"evaluation": "trained", **changes})


@pytest.mark.parametrize(("changes", "message"), [
    ({}, "--data is for --evaluation trained"),
    ({"pattern": "{label}.wav"}, "--pattern is for supernets of speech"),
    ({"evaluation": "trained", "resample": True}, "--resample is for supernets of speech")])
def test_options_that_images_do_not_have(folder: Path, tmp_path: Path, idx_folder: Path,
                                         changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_search(make_config({"supernet": str(folder), "data": idx_folder,
                                "out": tmp_path / "run", **changes}))
    assert not (tmp_path / "run").exists()


def test_trained_evaluation_has_defaults_of_its_own() -> None:
    config = make_config({"evaluation": "trained"})
    assert (config.searcher, config.executor) == ("optuna-tpe", "tune")
    assert command_line(config) == ("nas search --supernet mobilenet-fmnist --device host "
                                    "--evaluation trained --budget 64 --seed 0")
    other = make_config({"evaluation": "trained", "executor": "serial", "searcher": "evolution"})
    assert "--searcher evolution" in command_line(other)
    assert "--executor serial" in command_line(other)
    assert make_config(other.model_dump()) == other
    assert SearchConfig().executor == "serial"


def command(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "from cli.main import run; run()", "search",
                             *words], stdout=subprocess.DEVNULL)


def begin(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    return command("--supernet", str(folder), "--evaluation", "trained", "--train-epochs", "9",
                   "--budget", "4", "--ask", "4", "--workers", "1", "--out", str(out))


def trained(out: Path) -> int:
    """Epochs so far, of all networks together."""
    return sum(len(json.loads(path.read_text())["epochs"])
               for path in (out / "training").glob("*.json"))


@pytest.fixture(scope="module")
def whole(folder: Path, quick_profiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search with Tune that nobody stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        assert begin(folder, out).wait() == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.2, 0.5, 0.8])
def test_a_search_killed_in_the_middle_of_a_batch_goes_on(
        folder: Path, whole: Path, tmp_path: Path, moment: float, ledger_of: LedgerOf,
        comparable: Callable[[Path], Any]) -> None:
    killed = tmp_path / "killed"
    process = begin(folder, killed)
    while trained(killed) < moment * trained(whole):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "pareto.json").exists()
    assert command("--resume", str(killed)).wait() == 0
    assert ledger_equal(ledger_of(whole), ledger_of(killed))
    assert comparable(whole)["pareto"] == comparable(killed)["pareto"]
    for path in (whole / "training").glob("*.safetensors"):
        assert path.read_bytes() == (killed / "training" / path.name).read_bytes()
