"""Files of a board that were made by hand: they may name no more than a job may."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from hardware_profiles.agent_result import AgentResult
from hardware_profiles.bundle_manifest import BundleManifest, bundle_id
from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import NasError, ProfileError
from nas.core.files import sha256
from nas.pipeline import profile_remote
from nas.pipeline.events import silent
from nas.pipeline.profile_remote import import_profile
from nas.service.folder import DataDir
from nas.service.option_rules import NotAllowed
from nas.service.requests import read_request
from nas.service.settings import Settings
from nas.service.work import perform

AGENT = b"print('measure')\n"
RESULT, BUNDLE = "a" * 32, "b" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made = DataDir(tmp_path / "data")
    made.make()
    made.upload(RESULT).write_text("{}")
    return made


def write_bundle(path: Path, **changes: object) -> BundleManifest:
    values: dict[str, object] = {
        "schema_version": 1, "device": "board", "supernet": "mobilenet-fmnist", "resolution": None,
        "space": "mobilenet-fmnist/1", "generator": "0" * 16, "seed": 0, "codes": [],
        "calib_nets": 0, "models": {}, "agent": sha256(AGENT),
        "runtime": {"threads": 1, "batch": 1, "precision": "fp32"},
        "protocol": {"warm_up": 1, "runs": 5, "passes": 2, "max_passes": 2}, **changes}
    whole = BundleManifest.model_validate({**values, "id": "0" * 16}).model_dump(mode="json")
    whole["id"] = bundle_id(whole)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("manifest.json", json.dumps(whole))
        archive.writestr("agent.py", AGENT)
    path.write_bytes(buffer.getvalue())
    return BundleManifest.model_validate(whole)


@pytest.mark.parametrize("name", ["wave:open", "/etc", "../../etc", "optuna.study:create_study"])
def test_a_bundle_names_no_code_and_no_file_elsewhere(folder: DataDir, name: str) -> None:
    write_bundle(folder.upload(BUNDLE), supernet=name)
    request = read_request("import", {"result": RESULT, "bundle": BUNDLE})
    with pytest.raises(NotAllowed, match="--supernet"):
        perform(request, "c" * 16, folder=folder, settings=Settings(data=folder.root),
                watch=silent)


def test_a_usual_bundle_comes_as_far_as_its_result(folder: DataDir) -> None:
    write_bundle(folder.upload(BUNDLE))
    request = read_request("import", {"result": RESULT, "bundle": BUNDLE})
    with pytest.raises(NasError, match="result") as caught:
        perform(request, "c" * 16, folder=folder, settings=Settings(data=folder.root),
                watch=silent)
    assert not isinstance(caught.value, NotAllowed)


@pytest.mark.parametrize("identity", ["/etc/passwd", "../../secret", "0" * 15, ""])
def test_a_result_names_its_bundle_by_id_alone(identity: str) -> None:
    with pytest.raises(ValueError, match="bundle"):
        AgentResult.model_validate({"schema_version": 1, "complete": True, "bundle": identity})


@pytest.mark.parametrize("device", ["host", "host-intel-r-xeon-r-processor-2c"])
def test_no_import_replaces_the_profile_of_this_machine(
        folder: DataDir, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_bundle(folder.upload(BUNDLE), device=device)
    class Found:
        bundle = manifest.id

    monkeypatch.setattr(profile_remote, "read_result", lambda _: Found)
    with pytest.raises(ProfileError, match="that of the machine at hand"):
        import_profile(folder.upload(RESULT), bundle=folder.upload(BUNDLE))
