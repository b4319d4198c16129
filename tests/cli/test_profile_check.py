import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.main import main
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import read_profile, write_profile
from hardware_profiles.store import user_store

pytestmark = pytest.mark.usefixtures("profile_cache")


@pytest.fixture
def stored() -> HardwareProfile:
    """The quick profile of the tiny supernet."""
    found, = (item.profile for item in user_store().list()
              if item.profile and item.profile.space == "mobilenet-tiny/1")
    return found


def check(tiny_folder: Path, tmp_path: Path, *options: str) -> int:
    return main(["profile", "check", *options, "--supernet", str(tiny_folder), "--nets", "6",
                 "--out", str(tmp_path / "deep" / "check.png")])


def test_the_stored_profile_is_checked_and_drawn(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path) -> None:
    # The quick profile of the tests is a rough one: whether it holds is not asked here.
    code = check(tiny_folder, tmp_path, "--json")
    out, err = capsys.readouterr()
    payload: dict[str, Any] = json.loads(out)
    assert code == (0 if payload["ok"] else 1)
    assert payload["networks"] == len(payload["points"]) == 6
    assert set(payload["fresh"]) == set(payload["held_out"]) >= {"spearman", "mape", "bias"}
    assert err.splitlines()[-1].startswith(f"nas: profile {payload['profile']} ")
    with Image.open(payload["picture"]) as picture:
        assert picture.format == "PNG"


def test_a_profile_that_no_longer_holds_fails_with_the_remedy(
        capsys: pytest.CaptureFixture[str], stored: HardwareProfile, tiny_folder: Path,
        tmp_path: Path) -> None:
    fit = stored.calibration
    payload = stored.model_dump()
    payload["calibration"]["coefficients"] = {
        name: 9 * value for name, value in fit.coefficients.items()}
    path = tmp_path / "slow.json"
    write_profile(HardwareProfile.model_validate(payload), path)
    assert check(tiny_folder, tmp_path, str(path)) == 1
    out, err = capsys.readouterr()
    assert "held out" in out
    assert "no longer holds" in err.splitlines()[-1]
    assert "nas profile run" in err.splitlines()[-1]


@pytest.mark.parametrize(("options", "message"), [
    (("--nets", "3"), "--nets 3"),
    (("--seed", "-1"), "--seed -1"),
    (("--out", "check.txt"), "ends in .png"),
    (("--out", "/proc/check.png"), "cannot be written"),
    (("nowhere",), "no profile 'nowhere'"),
    (("--supernet", "mobilenet-fmnist", "{tiny}"), "is of space mobilenet-tiny/1"),
])
def test_bad_input(capsys: pytest.CaptureFixture[str], stored: HardwareProfile, tiny_folder: Path,
                   tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...],
                   message: str) -> None:
    monkeypatch.chdir(tmp_path)
    options = tuple(option.format(tiny=stored.id) for option in options)
    assert main(["profile", "check", "--supernet", str(tiny_folder), *options]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("nas: ")
    assert message in line
    assert not list(tmp_path.glob("*.png"))


def test_no_stored_profile_names_the_command(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))
    assert check(tiny_folder, tmp_path) == 2
    assert f"nas profile run --supernet {tiny_folder}" in capsys.readouterr().err


def test_a_profile_of_another_runtime_version_is_refused(
        capsys: pytest.CaptureFixture[str], stored: HardwareProfile, tiny_folder: Path,
        tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    write_profile(stored.model_copy(update={
        "runtime": stored.runtime.model_copy(update={"version": "1.0.0"})}), path)
    assert read_profile(path).runtime.version == "1.0.0"
    assert check(tiny_folder, tmp_path, str(path)) == 2
    assert "version 1.0.0" in capsys.readouterr().err
