import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timm_trainings import SIDE as PICTURE_SIDE
from timm_trainings import quick_profile, write_pictures

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import CACHE_VARIABLE, user_store
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.design import load_design
from nas.pipeline.run_dir import RunDir
from nas.pipeline.search import SearchResult, run_search
from nas.pipeline.train import TrainRequest, make_request, train
from nas.search.ledger import Ledger, ledger_equal, read_ledger

CLASSES, SIDE = 3, 16


@pytest.fixture(scope="session")
def ledger_of() -> Callable[[Path], Ledger]:
    """Opens the ledger of a run folder."""
    def opened(run_dir: Path) -> Ledger:
        run, config, _ = RunDir.open(run_dir)
        storage, name = run.ledger(config)
        return read_ledger(storage, space=load_supernet(config.supernet).space, study_name=name,
                           objectives=config.objective_values())

    return opened


@pytest.fixture(scope="session")
def comparable() -> Callable[[Path], dict[str, Any]]:
    """Reads a run's pareto.json without what differs from run to run."""
    def read(run_dir: Path) -> dict[str, Any]:
        payload = json.loads((run_dir / "pareto.json").read_text())
        del payload["wall_s"], payload["run_dir"], payload["best"]["measured_latency_ms"]
        return dict(payload)

    return read


@pytest.fixture
def check_equals_finished(finished: SearchResult, ledger_of: Callable[[Path], Ledger],
                          comparable: Callable[[Path], dict[str, Any]]) -> Callable[[Path], None]:
    """Compares a run folder with the one of the uninterrupted search."""
    def check(run_dir: Path) -> None:
        assert comparable(run_dir) == comparable(finished.run_dir)
        assert ledger_equal(ledger_of(run_dir), ledger_of(finished.run_dir))
        assert names(run_dir) == names(finished.run_dir)
        assert not list(run_dir.parent.glob(".*"))

    return check


@pytest.fixture
def own_profile(quick_profiles: Path, tiny_folder: Path, tmp_path: Path,
                monkeypatch: pytest.MonkeyPatch) -> HardwareProfile:
    """This machine's profile of the tiny space, in a store that may be changed."""
    shutil.copytree(quick_profiles, tmp_path / "cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    space = load_design(str(tiny_folder)).space.id
    found, = (item.profile for item in user_store().list()
              if item.profile and item.profile.space == space)
    return found


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 96), ("t10k", 48)):
        labels = np.arange(count, dtype=np.uint8) % CLASSES
        images = rng.integers(0, 120, (count, SIDE, SIDE), dtype=np.uint8)
        images[np.arange(count), labels * 5] += 100  # a bright row tells the class
        header = struct.pack(">4I", 0x803, count, SIDE, SIDE)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes()))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, count) + labels.tobytes())
    (folder / "labels.txt").write_text("top\nmiddle\nbottom\n")
    return folder


@pytest.fixture(scope="session")
def request_for(idx_folder: Path) -> Callable[..., TrainRequest]:
    """Makes the request of a short training into a folder."""
    def make(out: Path, **options: Any) -> TrainRequest:
        return make_request({"data": idx_folder, "out": out, "epochs": 2, "batch_size": 16,
                             **options})

    return make


@pytest.fixture(scope="session")
def trained(request_for: Callable[..., TrainRequest],
            tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training; not to be changed."""
    return train(request_for(tmp_path_factory.mktemp("out") / "supernet"))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures for each of three classes."""
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="session")
def timm_request(image_folder: Path) -> Callable[..., TrainRequest]:
    """Makes the request of a short training of a timm model."""
    def make(out: Path, **options: Any) -> TrainRequest:
        return make_request({"supernet": "timm:test_resnet", "data": image_folder, "out": out,
                             "image_size": PICTURE_SIDE, "epochs": 2, "batch_size": 16, **options})

    return make


@pytest.fixture(scope="session")
def timm_folder(timm_request: Callable[..., TrainRequest],
                tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training; not to be changed."""
    return train(timm_request(tmp_path_factory.mktemp("out") / "net"))


@pytest.fixture(scope="session")
def timm_cache(timm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with a profile of this machine for the space of `timm_folder`."""
    cache = tmp_path_factory.mktemp("timm-cache")
    quick_profile(timm_folder, cache)
    return cache


@pytest.fixture(scope="session")
def timm_run(timm_folder: Path, timm_cache: Path,
             tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search of `timm_folder`; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(timm_cache))
        return run_search(make_config({"supernet": str(timm_folder), "budget": 4, "ask": 4, "out":
                                       tmp_path_factory.mktemp("runs") / "run"})).run_dir
