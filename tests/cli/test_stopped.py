"""Ctrl-C, SIGTERM, a folder in use, no home: one line, and what to do next."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import strike

from cli.main import main, run
from hardware_profiles.store import user_store
from nas.core.locks import locked
from nas.pipeline.search import SearchResult

pytestmark = pytest.mark.usefixtures("profile_cache")


def last_line(text: str) -> str:
    *progress, line = (line for line in text.splitlines() if line.strip())
    assert all("ETA" in bar for bar in progress), text
    assert line.startswith("nas: ")
    return line


def command_line(*arguments: str) -> Callable[[], None]:
    """Returns the console script as a shell would start it."""
    def work() -> None:
        sys.argv = ["nas", *arguments]
        with pytest.raises(SystemExit, match="130"):
            run()

    return work


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_profile_says_how_to_go_on(
        tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))
    arguments = ["profile", "run", "--supernet", str(tiny_folder)]
    struck = strike(command_line(*arguments), tmp_path, at_access=2, with_signal=number)
    assert struck.code == 0, struck.stderr
    assert last_line(struck.stderr).endswith(f"go on with: nas {shlex.join(arguments)}")
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_export_says_how_to_start_it_again(finished: SearchResult, tmp_path: Path,
                                                     number: int) -> None:
    arguments = ["export", str(finished.run_dir), "--digest", finished.payload["best"]["digest"],
                 "--out", str(tmp_path / "a bundle")]
    struck = strike(command_line(*arguments), tmp_path, at_access=3, with_signal=number)
    assert struck.code == 0, struck.stderr
    assert last_line(struck.stderr).endswith(f"start again with: nas {shlex.join(arguments)}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_says_how_to_go_on(tiny_folder: Path, tmp_path: Path,
                                            number: int) -> None:
    out = tmp_path / "a run"
    struck = strike(command_line("search", "--supernet", str(tiny_folder), "--out", str(out)),
                    tmp_path, at_access=14, with_signal=number)
    assert struck.code == 0, struck.stderr
    assert last_line(struck.stderr).endswith(f"go on with: nas search --resume '{out}'")
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob(".lock"))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return last_line(capsys.readouterr().err)


def test_two_searches_in_one_folder(finished: SearchResult, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(finished.run_dir, tmp_path / "run")
    with locked(folder, "search"):
        assert "another search is at work in" in fails(capsys, "search", "--resume", str(folder))
        assert "run exists; give another --out" in fails(
            capsys, "search", "--out", str(folder))


@pytest.mark.parametrize("cache", ["/dev/null", "/proc/nas"])
def test_a_cache_folder_that_cannot_be_made(
        tiny_folder: Path, tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", cache)
    for verb in (["profile", "run"], ["search", "--out", str(tmp_path / "run")]):
        line = fails(capsys, *verb, "--supernet", str(tiny_folder))
        assert "set NAS_CACHE_DIR to a folder" in line
    assert main(["profile", "list"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nobody"])
def test_a_home_that_is_none(tiny_folder: Path, tmp_path: Path, home: str,
                             monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NAS_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home)
    line = fails(capsys, "profile", "run", "--supernet", str(tiny_folder))
    assert "set NAS_CACHE_DIR to a folder" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a home")
def test_a_user_without_a_home(tmp_path: Path) -> None:
    def work() -> int:
        os.environ.pop("HOME", None)
        os.environ.pop("NAS_CACHE_DIR", None)
        os.setuid(54_321)  # whom no passwd file knows
        user_store()
        return 0

    struck = strike(work, tmp_path, at_access=0)
    assert struck.code == 99
    assert "ProfileError: this user has no home folder" in struck.stderr


@pytest.mark.parametrize(("target", "code", "said"), [
    ("> /dev/full", 1, "nas: No space left on device; remedy that and run it again\n"),
    ("| true", 1, "")])
def test_standard_output_that_takes_nothing(target: str, code: int, said: str) -> None:
    program = "from cli.main import run; run()"
    command = f"{sys.executable} -c '{program}' list searchers {target}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, text=True,
        capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)
