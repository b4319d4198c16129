import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from postgres import NotAvailable, Server, server

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore
from nas.core.protocols import Task
from nas.pipeline.config import make_config
from nas.pipeline.search import SearchResult, run_search
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, StageConfig, build_space
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.stored import save_supernet
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages

# More threads than idle cores make torch several times slower, and tests may share the machine.
torch.set_num_threads(1)

MakeSupernet = Callable[[Task], MobileNetSupernet]


def pytest_runtest_setup() -> None:
    """Lets torch read the sources of its ONNX operators once, not once more for each export."""
    registry = getattr(sys.modules.get("torch.onnx._internal.exporter._registration"),
                       "ONNXRegistry", None)
    if inspect.ismethod(read := getattr(registry, "from_torchlib", None)):
        registry.from_torchlib = staticmethod(functools.cache(read))


@pytest.fixture(scope="session")
def tiny_config() -> MobileNetConfig:
    """Two stages, so that blocks come with and without skip, stride and squeeze-and-excite."""
    return MobileNetConfig(
        name="mobilenet-tiny/1", input_shape=(1, 16, 16), num_classes=5, stem_width=8,
        head_width=24, activation="relu", stages=(
            StageConfig(widths=(8, 12), depths=(1, 2), kernels=(3, 5), expansions=(1, 2)),
            StageConfig(widths=(12, 16), depths=(1, 2), kernels=(3, 5, 7), expansions=(2, 3),
                        stride=2, se_ratio=0.25)))


@pytest.fixture(scope="session")
def tiny_task(tiny_config: MobileNetConfig) -> ImageClassification:
    """Random images; each split has its own."""
    rng = np.random.default_rng(0)

    def images(count: int) -> LabelledImages:
        pixels = rng.integers(0, 256, (count, *tiny_config.input_shape[1:]), dtype=np.uint8)
        return LabelledImages(pixels, rng.integers(0, 5, count, dtype=np.uint8))

    return ImageClassification(
        labels=("a", "b", "c", "d", "e"), input_shape=tiny_config.input_shape, mean=0.5, std=0.3,
        splits={"train_calib": images(64), "search": images(80), "test": images(48)},
        batch_size=32)


@pytest.fixture(scope="session")
def make_tiny_supernet(tiny_config: MobileNetConfig) -> MakeSupernet:
    """Makes equal supernets in evaluation mode, no tensor of which is at its neutral value."""

    def make(task: Task) -> MobileNetSupernet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            supernet = MobileNetSupernet(tiny_config, task)
            for name, tensor in supernet.state_dict().items():
                if name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
                    tensor.uniform_(0.5, 1.5)
                elif name.endswith(("running_mean", "bias")):
                    tensor.normal_(std=0.3)
                elif "kernel_maps" in name:
                    tensor.add_(torch.randn_like(tensor), alpha=0.1)
        return supernet.eval()

    return make


@pytest.fixture
def tiny_supernet(make_tiny_supernet: MakeSupernet,
                  tiny_task: ImageClassification) -> MobileNetSupernet:
    return make_tiny_supernet(tiny_task)


@pytest.fixture(scope="session")
def tiny_folder(make_tiny_supernet: MakeSupernet, tiny_task: ImageClassification,
                tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny supernet as `nas train` would leave it; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny-supernet")
    save_supernet(folder, make_tiny_supernet(tiny_task), tiny_task, {"trained_by": "nobody"})
    return folder


@pytest.fixture(scope="session")
def quick_profiles(tiny_config: MobileNetConfig,
                    tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with profiles of this machine for the tiny and the shipped space."""
    folder = tmp_path_factory.mktemp("cache")
    quick = HostConfig(calib_nets=10, test_nets=10, protocol=MeasureProtocol(
        warm_up=1, runs=5, passes=2, max_passes=2))
    for config in (tiny_config, FMNIST):
        space = build_space(config)
        vocabulary = build_vocabulary(config, space)
        ProfileStore(folder / "profiles").save(profile_host(
            space, vocabulary.blocks, vocabulary.block_ids, seed=0, config=quick))
    return folder


@pytest.fixture(scope="session")
def finished(tiny_folder: Path, quick_profiles: Path,
             tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """One uninterrupted search, whose folder is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        return run_search(make_config({"supernet": str(tiny_folder), "budget": 14,
                                       "out": tmp_path_factory.mktemp("runs") / "run"}))


@pytest.fixture
def profile_cache(quick_profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test find `quick_profiles`."""
    monkeypatch.setenv(CACHE_VARIABLE, str(quick_profiles))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real PostgreSQL server; skips where none can be started."""
    try:
        with server() as running:
            yield running
    except NotAvailable as error:
        pytest.skip(str(error))
