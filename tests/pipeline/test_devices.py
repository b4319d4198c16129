"""Searching for a device that is not this machine: estimates, imported profiles, refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardware_profiles.estimated import NOT_MEASURED
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import CACHE_VARIABLE, user_store
from nas.core.errors import InputError, ProfileError, RunInterrupted
from nas.export.verify import verify_bundle
from nas.pipeline.compose import compose
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.events import Event, silent
from nas.pipeline.search import SearchResult, device_facts, resume_search, run_search
from nas.search.ledger import Ledger

pytestmark = pytest.mark.usefixtures("own_profile")

Search = Callable[..., SearchResult]
Configure = Callable[..., SearchConfig]


@pytest.fixture
def configure(tiny_folder: Path, tmp_path: Path) -> Configure:
    def make(device: str, **options: Any) -> SearchConfig:
        return make_config({"supernet": str(tiny_folder), "budget": 4, "device": device,
                            "out": tmp_path / "run", **options})

    return make


@pytest.fixture
def search(configure: Configure) -> Search:
    return lambda device, **options: run_search(configure(device, **options))


@pytest.fixture
def device_of(configure: Configure) -> Callable[..., dict[str, Any]]:
    """Returns what the result of a search would say of its device, without searching."""
    return lambda device, **options: device_facts(
        compose(configure(device, **options), watch=silent).profile)


@pytest.fixture(scope="module")
def estimated(tiny_folder: Path, quick_profiles: Path,
              tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search on an estimate, whose folder is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        return run_search(make_config({"supernet": str(tiny_folder), "budget": 4, "device":
                                       "jetson", "out": tmp_path_factory.mktemp("runs") / "run"}))


def until_export(config: SearchConfig) -> Path:
    """Searches and exports nothing, which would take longer than all validations."""
    def watch(event: Event) -> None:
        if event.stage == "export":
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        run_search(config, watch=watch)
    assert config.out is not None
    return config.out


def as_device(profile: HardwareProfile, name: str, **changes: Any) -> HardwareProfile:
    return profile.model_copy(update={
        "device": profile.device.model_copy(update={"id": name}), **changes})


def test_an_estimate_serves_and_every_output_says_what_it_is(estimated: SearchResult) -> None:
    result = estimated
    device, best = result.payload["device"], result.payload["best"]
    assert (device["id"], device["kind"], device["statistic"]) == (
        "jetson-orin-nano", "estimated", "published")
    assert NOT_MEASURED in device["note"]
    assert "of fp16 at batch 1" in device["note"]
    assert "extrapolated: input 16 px" in device["note"]
    assert best["measured_latency_ms"] is None  # this machine's latency would say nothing
    manifest = json.loads((result.run_dir / "best" / "manifest.json").read_text())
    assert manifest["provenance"]["latency"].startswith("estimated, ")
    assert NOT_MEASURED in manifest["provenance"]["latency"]
    report = (result.run_dir / "report.html").read_text()
    assert NOT_MEASURED in report
    assert "extrapolated: input 16 px" in report
    assert verify_bundle(result.run_dir / "best").ok


def test_a_bound_is_held_at_the_upper_end_of_the_estimate(
        configure: Configure, tmp_path: Path, ledger_of: Callable[[Path], Ledger]) -> None:
    def latencies(run_dir: Path) -> list[float]:
        return [outcome.metrics["latency_ms"] for outcome in ledger_of(run_dir).outcomes()]

    # Evolution begins with the largest network, the slowest there is.
    options: dict[str, Any] = {"budget": 8, "searcher": "evolution"}
    slowest = max(latencies(until_export(configure("jetson", out=tmp_path / "free", **options))))
    # The slowest fits by its value, not by the upper end of its estimate.
    bound = 1.01 * slowest
    held = until_export(configure("jetson", max_latency_ms=bound, **options))
    profile = HardwareProfile.model_validate_json((held / "profile.json").read_text())
    assert profile.calibration.upper_ratio > 1.01
    assert len(latencies(held)) == 8
    for latency in latencies(held):
        assert latency * profile.calibration.upper_ratio <= bound


def test_a_search_on_an_estimate_is_resumed(estimated: SearchResult, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(estimated.run_dir, tmp_path / "run"))
    (run_dir / "pareto.json").unlink()
    again = resume_search(run_dir).payload
    assert again["pareto"] == estimated.payload["pareto"]


def test_require_measured_refuses_an_estimate_before_anything_is_made(
        search: Search, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"--require-measured: .* only an estimate") as caught:
        search("jetson", require_measured=True)
    assert "nas profile export --device jetson" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["jetson", "jetson-orin-nano"])
def test_a_measured_profile_takes_over_by_itself(
        name: str, own_profile: HardwareProfile,
        device_of: Callable[..., dict[str, Any]]) -> None:
    user_store().save(as_device(own_profile, name))
    device = device_of("jetson", require_measured=True)
    assert (device["id"], device["kind"]) == (name, "measured")
    assert NOT_MEASURED not in device["note"]


@pytest.mark.slow
def test_a_full_profile_comes_before_a_few_shot_one(
        own_profile: HardwareProfile, search: Search, tmp_path: Path) -> None:
    user_store().save(as_device(own_profile, "pi-5", kind="fewshot"))
    first = search("pi-5", out=tmp_path / "first")
    user_store().save(as_device(own_profile, "pi-5"))
    second = search("pi-5", out=tmp_path / "second")
    assert [run.payload["device"]["kind"] for run in (first, second)] == ["fewshot", "measured"]


def test_a_device_that_nobody_knows_names_the_remedy(search: Search) -> None:
    with pytest.raises(InputError, match="unknown device 'pi-6'") as caught:
        search("pi-6")
    assert "nas profile export --device pi-6" in str(caught.value)


def test_another_space_or_thread_count_is_no_substitute(
        own_profile: HardwareProfile, search: Search) -> None:
    user_store().save(as_device(own_profile, "pi-5", space="other/1", generator="0" * 16))
    with pytest.raises(InputError, match="measured for other/1, not for mobilenet-tiny/1"):
        search("pi-5")
    user_store().save(as_device(own_profile, "pi-5", runtime=own_profile.runtime.model_copy(
        update={"threads": 4})))
    with pytest.raises(InputError, match=r"with --threads 4 --precision fp32 --batch 1, not with "
                                         r"--threads 1;"):
        search("pi-5")


def test_of_several_settings_the_one_asked_for_counts(
        own_profile: HardwareProfile, search: Search,
        device_of: Callable[..., dict[str, Any]]) -> None:
    for precision in ("fp32", "int8"):
        user_store().save(as_device(own_profile, "pi-5", runtime=own_profile.runtime.model_copy(
            update={"precision": precision})))
    for precision, stamp in (("fp32", False), ("int8", True)):
        note = device_of("pi-5", precision=precision)["note"]
        assert ("of int8 at batch 1" in note) == stamp
    with pytest.raises(InputError, match=r"--precision int8 --batch 1, not with .* --batch 8"):
        search("pi-5", batch=8)
    with pytest.raises(InputError, match=r"estimate of device 'jetson' is for .* fp16 --batch 1"):
        search("jetson", precision="int8")


def test_this_machine_is_measured_and_the_winner_timed_in_the_precision_asked_for(
        own_profile: HardwareProfile, search: Search) -> None:
    runtime = own_profile.runtime.model_copy(update={"precision": "int8", "batch": 2})
    user_store().save(own_profile.model_copy(update={"runtime": runtime}))
    result = search("host", precision="int8", batch=2)
    assert "of int8 at batch 2" in result.payload["device"]["note"]
    assert result.payload["best"]["measured_latency_ms"] > 0
    assert resume_search(result.run_dir).payload["pareto"] == result.payload["pareto"]
