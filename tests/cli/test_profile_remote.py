import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from hardware_profiles.bundle_manifest import BundleManifest, read_bundle
from hardware_profiles.host import HostConfig
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, user_store
from nas.pipeline.profile_remote import export_bundle

QUICK = {"protocol": MeasureProtocol(warm_up=1, runs=5, passes=2, max_passes=2),
         "networks": HostConfig(calib_nets=6, test_nets=5)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def measured(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a quick bundle of the tiny supernet, its result, and the exporter's cache."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        export_bundle(str(tiny_folder), folder / "bundle.zip", device="board-1", **QUICK)
    with zipfile.ZipFile(folder / "bundle.zip") as bundle:
        bundle.extractall(folder / "board")
    subprocess.run([sys.executable, "-I", "agent.py", "--out", str(folder / "result.json")],
                   check=True, cwd=folder / "board", capture_output=True)
    return folder


@pytest.fixture
def exported(measured: Path, tmp_path: Path) -> BundleManifest:
    """The bundle in ``bundle.zip``, just exported."""
    shutil.copytree(measured / "cache", tmp_path / "cache")
    shutil.copy(measured / "bundle.zip", tmp_path)
    return read_bundle(tmp_path / "bundle.zip")


@pytest.fixture
def result(measured: Path, exported: BundleManifest, tmp_path: Path) -> Path:
    """What the agent made of it, in ``result.json``."""
    del exported
    return Path(shutil.copy(measured / "result.json", tmp_path))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(list(arguments)) == code
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nas: ")]
    return line


def test_export_says_what_to_do_next(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pi.zip"
    code = main(["profile", "export", "--device", "pi-5", "--supernet", str(tiny_folder), "-o",
                 str(out), "--threads", "2", "--json"])
    printed, said = capsys.readouterr()
    payload: dict[str, Any] = json.loads(printed)
    assert code == 0
    assert payload["bytes"] == out.stat().st_size
    assert payload["device"] == "pi-5"
    assert payload["models"] > 100
    assert "nas profile import" in said
    assert [path.stem for path in (tmp_path / "cache" / "bundles").iterdir()] == [payload["id"]]


def test_an_imported_result_is_listed_and_shown(
        capsys: pytest.CaptureFixture[str], result: Path) -> None:
    assert main(["profile", "import", str(result)]) == 0
    assert "board-1" in capsys.readouterr().out
    assert main(["profile", "list", "--json"]) == 0
    row, = json.loads(capsys.readouterr().out)
    assert row["kind"] == "measured"
    assert row["name"].startswith("board-1-mobilenet-tiny-1-1t-")
    assert main(["profile", "import", str(result), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"]["id"] == "board-1"
    assert len(user_store().list()) == 1


def test_an_imported_device_is_listed_among_the_devices(
        capsys: pytest.CaptureFixture[str], result: Path) -> None:
    assert main(["profile", "import", str(result)]) == 0
    capsys.readouterr()
    assert main(["list", "devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name": "board-1", "kind": "measured", "provider": "CPUExecutionProvider",
            "note": "imported, of mobilenet-tiny/1"}.items() <= rows[-1].items()
    assert {"host", "jetson", "jetson-orin-nano"} <= {row["name"] for row in rows}


def test_a_few_networks_in_another_precision_and_resolution(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path) -> None:
    """Bundle, agent and import of whole int8 networks at twice the side, nothing else."""
    out = tmp_path / "few.zip"
    export_bundle(str(tiny_folder), out, device="board-2", precision="int8", resolution=32,
                  few_shot=12, protocol=QUICK["protocol"])
    with zipfile.ZipFile(out) as bundle:
        bundle.extractall(tmp_path / "board")
    subprocess.run([sys.executable, "-I", "agent.py", "--out", str(tmp_path / "result.json")],
                   check=True, cwd=tmp_path / "board", capture_output=True)
    assert main(["profile", "import", str(tmp_path / "result.json"), "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert (profile["kind"], profile["runtime"]["precision"]) == ("fewshot", "int8")
    assert profile["space"] == "mobilenet-tiny/1@32"
    assert (len(profile["entries"]), len(profile["subnets"])) == (0, 12)


def test_the_bundle_stands_in_for_a_forgotten_export(
        capsys: pytest.CaptureFixture[str], result: Path, exported: BundleManifest,
        tmp_path: Path) -> None:
    (tmp_path / "cache" / "bundles" / f"{exported.id}.json").unlink()
    assert "give its file with --bundle" in fails(capsys, "profile", "import", str(result))
    assert main(["profile", "import", str(result), "--bundle", str(tmp_path / "bundle.zip")]) == 0


def test_a_result_of_another_bundle_leaves_the_profile_whole(
        capsys: pytest.CaptureFixture[str], result: Path, tiny_folder: Path,
        tmp_path: Path) -> None:
    assert main(["profile", "import", str(result)]) == 0
    stored, = (item.path for item in user_store().list())
    before = stored.read_bytes()
    capsys.readouterr()
    export_bundle(str(tiny_folder), tmp_path / "other.zip", device="board-2", **QUICK)
    line = fails(capsys, "profile", "import", str(result), "--bundle",
                 str(tmp_path / "other.zip"))
    assert "give the bundle that was measured" in line
    assert stored.read_bytes() == before


def test_a_supernet_that_has_moved_names_the_option(
        capsys: pytest.CaptureFixture[str], result: Path, exported: BundleManifest,
        tiny_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    tiny = tmp_path / "bundle.zip"
    manifest = export_bundle(str(tiny_folder), tiny, device="board-1", **QUICK)
    assert manifest == exported  # the same again
    kept = tmp_path / "cache" / "bundles" / f"{exported.id}.json"
    assert json.loads(kept.read_text())["supernet"] == str(tiny_folder)
    tiny_folder.rename(moved)
    try:
        assert "--supernet" in fails(capsys, "profile", "import", str(result))
        assert main(["profile", "import", str(result), "--supernet", str(moved)]) == 0
    finally:
        moved.rename(tiny_folder)


@pytest.mark.parametrize(("arguments", "message"), [
    (("export", "--device", "Pi 5"), "device name 'Pi 5'"),
    (("export", "--device", "host"), "nas profile run"),
    (("export", "--device", "pi", "--threads", "0"), "--threads 0"),
    (("export", "--device", "pi", "--batch", "0"), "--batch 0"),
    (("export", "--device", "pi", "--precision", "int4"), "int4"),
    (("export", "--device", "pi", "--supernet", "nothing"), "nothing"),
    (("import", "nowhere.json"), "does not exist"),
])
def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                   monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...],
                   message: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "profile", *arguments)
    assert not list(tmp_path.glob("*.zip"))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that stub ssh and scp programs reach as ``user@board``, by a real shell."""
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    for name, script in {
            "ssh": 'echo "ssh $*" >> "$BOARD/log"\n[ "$1" = user@board ] || exit 255\n'
                   'cd "$BOARD" && shift && exec sh -c "$*"',
            "scp": 'echo "scp $*" >> "$BOARD/log"\n[ "$1" = -q ] && shift\n'
                   'place() { case $1 in user@board:*) echo "$BOARD/${1#*:}";; *) echo "$1";; '
                   'esac; }\nexec cp "$(place "$1")" "$(place "$2")"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("BOARD", str(home))
    return home


@pytest.mark.slow
def test_a_board_is_measured_over_ssh(
        capsys: pytest.CaptureFixture[str], board: Path, tiny_folder: Path,
        tmp_path: Path) -> None:
    out = tmp_path / "bundle.zip"
    code = main(["profile", "export", "--device", "board-1", "--supernet", str(tiny_folder), "-o",
                 str(out), "--host", "user@board", "--python", sys.executable, "--json"])
    printed, said = capsys.readouterr()
    assert code == 0, said
    payload = json.loads(printed)
    assert payload["device"]["id"] == "board-1"
    assert user_store().list()[0].profile is not None
    log = (board / "log").read_text().splitlines()
    assert [line.split()[0] for line in log] == ["ssh", "scp", "scp", "ssh", "scp"]
    folder, = (path for path in board.iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {
        "agent.py", "bundle.zip", "result-cpu.json"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("options", "message"), [
    (("--host", "user@elsewhere"), "ssh user@elsewhere ended with 255; check that"),
    (("--host", "user@board", "--python", "no-such-python"), "the agent's last line"),
    (("--host", "user@board", "--ep", "cuda", "--python", sys.executable), "ended with 2"),
])
def test_what_fails_over_there_is_one_line(
        capsys: pytest.CaptureFixture[str], board: Path, tiny_folder: Path, tmp_path: Path,
        options: tuple[str, ...], message: str) -> None:
    line = fails(capsys, "profile", "export", "--device", "board-1", "--supernet",
                 str(tiny_folder), "-o", str(tmp_path / "b.zip"), *options, code=1)
    assert message in line
    assert not user_store().list()
    assert (board / "log").is_file()


def test_a_host_that_is_an_option_is_refused(
        capsys: pytest.CaptureFixture[str], board: Path, tiny_folder: Path,
        tmp_path: Path) -> None:
    line = fails(capsys, "profile", "export", "--device", "b", "--supernet", str(tiny_folder),
                 "-o", str(tmp_path / "b.zip"), "--host=-oProxyCommand=evil")
    assert "user@board" in line
    assert not (board / "log").exists()


def test_a_stopped_remote_run_goes_on(
        exported: BundleManifest, board: Path, tmp_path: Path,
        make_stopping_python: Callable[[Path], Path]) -> None:
    from nas.core.errors import NasError
    from nas.pipeline.profile_remote import profile_over_ssh
    from nas.pipeline.remote import AgentOptions

    bundle, result = tmp_path / "bundle.zip", tmp_path / "result.json"
    with pytest.raises(NasError, match="it goes on where it was"):
        profile_over_ssh("user@board", bundle, result, manifest=exported,
                         options=AgentOptions(python=str(make_stopping_python(tmp_path))))
    folder = board / f"nas-bundle-{exported.id}"
    kept = (folder / "result-cpu.json.journal").read_bytes().count(b"\n")
    assert kept >= 10
    profile = profile_over_ssh("user@board", bundle, result, manifest=exported,
                               options=AgentOptions(python=sys.executable))
    assert profile.device.id == "board-1"


@pytest.fixture
def make_stopping_python() -> Callable[[Path], Path]:
    """Makes a Python that is killed when the agent's journal has ten lines."""
    def make(folder: Path) -> Path:
        path = folder / "stopping-python"
        path.write_text(
            f'#!/bin/sh\n"{sys.executable}" "$@" &\nwhile [ "$(cat *.journal 2>/dev/null | wc -l)"'
            " -lt 10 ]; do sleep 0.01; done\nkill -9 $!\nwait $!\n")
        path.chmod(0o755)
        return path

    return make
