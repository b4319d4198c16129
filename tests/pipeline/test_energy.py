from pathlib import Path

import pytest

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import user_store
from nas.core.errors import ProfileError
from nas.pipeline.config import make_config
from nas.pipeline.search import SearchResult, run_search


def search(tiny_folder: Path, tmp_path: Path) -> SearchResult:
    return run_search(make_config({"supernet": str(tiny_folder), "budget": 4,
                                   "objectives": ("error", "energy_mj"), "out": tmp_path / "run"}))


def test_energy_that_was_measured_is_an_objective(
        own_profile: HardwareProfile, tiny_folder: Path, tmp_path: Path) -> None:
    subnets = tuple(net.model_copy(update={"timing": net.timing.model_copy(
        update={"energy_mj": 3.0 * net.timing.latency_ms})}) for net in own_profile.subnets)
    user_store().save(own_profile.model_copy(update={"subnets": subnets}))
    payload = search(tiny_folder, tmp_path).payload
    assert payload["pareto"]
    for point in payload["pareto"]:
        metrics = point["metrics"]
        # The networks' own noise is in the fit, so only the size is certain.
        assert metrics["energy_mj"] == pytest.approx(3.0 * metrics["latency_ms"], rel=0.5)


def test_energy_that_was_not_is_an_error_before_anything_is_made(
        own_profile: HardwareProfile, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=f"{own_profile.id} holds the energy of 0 networks"):
        search(tiny_folder, tmp_path)
    assert not (tmp_path / "run").exists()
