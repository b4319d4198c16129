"""Files and folders that are whole or not there, and locks that die with their holder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults import full_disk, strike

from nas.core.errors import InputError
from nas.core.files import (
    os_error_line,
    partial_file,
    replace_file,
    sweep,
    whole_folder,
    write_synced,
)
from nas.core.locks import locked


def child(code: str, *arguments: str, stdout: int | None = None) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True,
                            stdout=stdout, env={**os.environ, "PYTHONPATH": str(root)})


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    partial_file(path).write_bytes(b"what a killed writer left, longer than the new content")
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"old")
    with full_disk(100), pytest.raises(OSError, match=r"File too large: .*a\.json") as caught:
        replace_file(path, b"x" * 1000)
    assert os_error_line(caught.value) == f"{path}: File too large"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with full_disk(100), pytest.raises(OSError, match=r"b\.json"):
        write_synced(tmp_path / "b.json", b"x" * 1000)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"

    def stop_half_way() -> None:
        with whole_folder(folder) as partial:
            write_synced(partial / "a", b"1")
            raise KeyError(folder.exists())

    with pytest.raises(KeyError, match="False"):
        stop_half_way()
    assert list(folder.parent.iterdir()) == []
    (folder.parent / ".one.1234.partial").mkdir()
    (folder.parent / ".other.1234.partial").mkdir()
    with whole_folder(folder) as partial:
        write_synced(partial / "a", b"1")
    assert {path.name for path in folder.parent.iterdir()} == {"one", ".other.1234.partial"}
    assert (folder / "a").read_bytes() == b"1"


@pytest.mark.parametrize("content", [(), ("mine",)])
def test_a_folder_that_was_made_meanwhile_is_left_alone(tmp_path: Path,
                                                        content: tuple[str, ...]) -> None:
    folder = tmp_path / "one"

    def make() -> None:
        with whole_folder(folder):
            folder.mkdir()
            for name in content:
                (folder / name).touch()

    with pytest.raises(OSError, match="made there meanwhile"):
        make()
    assert list(tmp_path.iterdir()) == [folder]
    assert [path.name for path in folder.iterdir()] == list(content)


def test_leftovers_are_swept_only_where_the_folder_is_there(tmp_path: Path) -> None:
    leftover = tmp_path / ".a[1].55aa.partial"
    leftover.mkdir()
    sweep(tmp_path / "a[1]")
    assert leftover.is_dir()
    (tmp_path / "a[1]").mkdir()
    sweep(tmp_path / "a[1]")
    assert not leftover.exists()


HOLDER = """
import sys, time
from pathlib import Path
from nas.core.locks import locked
with locked(Path(sys.argv[1]), "search"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_process_is_killed(tmp_path: Path) -> None:
    with child(HOLDER, str(tmp_path), stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another search is at work in .*process "
                                             f"{holder.pid}"), locked(tmp_path, "search"):
            pass
        holder.send_signal(signal.SIGKILL)
    with locked(tmp_path, "search"), pytest.raises(InputError), locked(tmp_path, "search"):
        pass
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from nas.core.files import replace_file
for number in range(100):
    replace_file(Path(sys.argv[1]), sys.argv[2].encode() * 5000)
"""


def test_writers_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    writers = [child(WRITER, str(path), mark) for mark in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen <= {b"a" * 5000, b"b" * 5000}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_whole_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for access in range(1, 20):
        replace_file(path, b"old")
        struck = strike(lambda: replace_file(path, b"new"), tmp_path, at_access=access)
        assert path.read_bytes() in (b"old", b"new")
        if not struck.killed:
            break
        replace_file(path, b"new")
        assert list(tmp_path.iterdir()) == [path]
    assert 3 <= access < 19


def test_a_folder_is_whole_at_every_moment(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        with whole_folder(folder) as partial:
            for name in "ab":
                write_synced(partial / name, b"1")

    for access in range(1, 20):
        folder = tmp_path / f"run{access}"
        struck = strike(lambda folder=folder: make(folder), tmp_path, at_access=access)
        assert not folder.exists() or {path.name for path in folder.iterdir()} == {"a", "b"}
        if not struck.killed:
            break
        if not folder.exists():
            make(folder)
    assert 4 <= access < 19
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
