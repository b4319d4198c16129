"""A profile of this machine, measured with few runs, that commands of the tests find."""

from pathlib import Path

import pytest

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST


@pytest.fixture(scope="session")
def _quick_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    space = build_space(FMNIST)
    vocabulary = build_vocabulary(FMNIST, space)
    quick = HostConfig(calib_nets=10, test_nets=10, protocol=MeasureProtocol(
        warm_up=1, runs=5, passes=1, max_passes=1))
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=0, config=quick)
    ProfileStore(folder / "profiles").save(profile)
    return folder


@pytest.fixture
def tiny_profile_cache(_quick_profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(_quick_profile))
