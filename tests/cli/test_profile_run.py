import json
from pathlib import Path

import pytest

from cli.main import main
from hardware_profiles.store import user_store


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))


@pytest.mark.slow
def test_a_profile_at_another_resolution_and_batch(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path) -> None:
    command = ["--supernet", str(tiny_folder), "--batch", "2", "--resolution", "12",
               "--allow-contended"]
    assert main(["profile", "run", *command, "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["space"] == "mobilenet-tiny/1@12"
    assert profile["validity"]["input_shape"] == [1, 12, 12]
    assert profile["runtime"]["batch"] == 2
    assert set(profile["calibration"]["cross_validation"]) >= {"affine_blocks", "op_counts"}
    assert profile["calibration"]["model"] in profile["calibration"]["cross_validation"]
    assert all(net["timing"]["peak_bytes"] > 0 for net in profile["subnets"])
    assert [item.path.stem for item in user_store().list()] == [profile["id"]]

    assert main(["profile", "show", profile["id"]]) == 0
    shown = capsys.readouterr().out
    for word in ("cross-validated", "protocol", "memory", "networks", "batch 2", "@12"):
        assert word in shown

    # It may hold or not: this is about finding the space that it is of.
    picture = str(tmp_path / "check.png")
    assert main(["profile", "check", profile["id"], "--supernet", str(tiny_folder), "--nets", "6",
                 "--out", picture, "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["space"] == "mobilenet-tiny/1@12"


@pytest.mark.parametrize(("options", "message"), [
    (("--threads", "0"), "--threads 0: at least 1"),
    (("--batch", "0"), "--batch 0: at least 1"),
    (("--precision", "int4"), "--precision int4: one of fp32, fp16, int8"),
    (("--resolution", "4"), "resolution 4: images of mobilenet-fmnist/1 may have a side of 8 to"),
    (("--resolution", "-224"), "resolution -224"),
    (("--provider", "toaster"), "knows no execution provider 'toaster'; known: "),
    (("--provider", "dml"), "this ONNX Runtime has no DmlExecutionProvider, only "),
    (("--supernet", "json:loads", "--resolution", "224"), "json:loads cannot"),
    (("--supernet", "nowhere"), "nowhere"),
])
def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...],
                   message: str) -> None:
    assert main(["profile", "run", *options]) == 2
    captured = capsys.readouterr()
    line, = (line for line in captured.err.splitlines() if line.startswith("nas: "))
    assert message in line
    assert captured.out == ""
    assert not list(tmp_path.rglob("*.json"))
