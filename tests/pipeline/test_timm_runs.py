"""What follows on a search of a timm supernet: candidates that are trained, the winner trained on.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import DataError, InputError
from nas.evaluation.fresh import check_can_initialise
from nas.export.verify import verify_bundle
from nas.pipeline.config import make_config
from nas.pipeline.finetune import Finetuned, finetune, make_finetune_request
from nas.pipeline.search import SearchResult, resume_search, run_search
from nas.search.ledger import Ledger, ledger_equal


@pytest.fixture(autouse=True)
def _cache(timm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(timm_cache))


def search(folder: Path, out: Path, **options: Any) -> SearchResult:
    return run_search(make_config({
        "supernet": str(folder), "evaluation": "trained", "train_epochs": 1, "budget": 2, "ask": 2,
        "executor": "serial", "out": out, **options}))


@pytest.mark.slow
def test_candidates_are_trained_on_the_supernets_own_images(timm_folder: Path, tmp_path: Path
                                                            ) -> None:
    result = search(timm_folder, tmp_path / "run", executor="process", workers=1)
    assert result.payload["counts"]["evaluated"] == 2
    assert verify_bundle(result.run_dir / "best").ok
    trained = load_file(result.run_dir / "training"
                        / f"{result.payload['best']['digest']}.safetensors")
    exported = load_file(result.run_dir / "best" / "model.safetensors")
    assert trained.keys() == exported.keys()
    assert all(torch.equal(trained[name], exported[name]) for name in trained)
    manifest = json.loads((result.run_dir / "best" / "manifest.json").read_text())
    assert manifest["provenance"]["weights"] == "trained for 1 epochs from inherited weights"


@pytest.mark.slow
def test_candidates_are_the_same_wherever_they_are_trained_and_the_images_lie(
        timm_folder: Path, image_folder: Path, tmp_path: Path,
        ledger_of: Callable[[Path], Ledger]) -> None:
    own = search(timm_folder, tmp_path / "own", train_from="scratch").run_dir
    again = search(timm_folder, tmp_path / "given", train_from="scratch", data=image_folder,
                   executor="process", workers=2).run_dir
    assert ledger_equal(ledger_of(own), ledger_of(again))
    inherited = search(timm_folder, tmp_path / "inherited").run_dir
    for path in (own / "training").glob("*.safetensors"):
        assert path.read_bytes() == (again / "training" / path.name).read_bytes()
        assert path.read_bytes() != (inherited / "training" / path.name).read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (own / "training").iterdir()}
    resume_search(own)
    assert times == {path: path.stat().st_mtime_ns for path in (own / "training").iterdir()}


def test_a_model_whose_weights_cannot_be_drawn_anew() -> None:
    check_can_initialise(timm.create_model("test_resnet"))
    with pytest.raises(InputError, match="a VisionTransformer does not draw its cls_token anew"):
        check_can_initialise(timm.create_model("test_vit"))


def tune(run_dir: Path, **options: Any) -> Finetuned:
    return finetune(make_finetune_request({"run_dir": run_dir, "epochs": 1, "batch_size": 16,
                                           **options}))


@pytest.mark.slow
def test_the_winner_learns_the_same_from_a_data_set_by_name_and_with_processes(
        timm_run: Path, image_folder: Path, tmp_path: Path) -> None:
    own, named = (Path(shutil.copytree(timm_run, tmp_path / name)) for name in ("own", "named"))
    assert tune(own).entry.images == "144 images of the supernet's own"
    with pytest.raises(DataError, match="unknown data set 'torhc/folder'"):
        tune(named, data=image_folder, dataset="torhc/folder")
    with pytest.raises(InputError, match="--dataset wds names what is in a folder; give that, too"):
        tune(named, dataset="wds")
    found = tune(named, data=image_folder, dataset="torch/image_folder", workers=1).entry
    assert found.images == "144 images of torch/image_folder in pictures"
    assert multiprocessing.active_children() == []
    weights = "best/model.safetensors"
    assert (own / weights).read_bytes() == (named / weights).read_bytes()
    assert (own / weights).read_bytes() != (timm_run / weights).read_bytes()
