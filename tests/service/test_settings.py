import stat
from pathlib import Path
from typing import Any

import pytest

from nas.core.errors import DiskError, InputError
from nas.service.folder import DataDir
from nas.service.settings import Settings


@pytest.mark.parametrize(("host", "is_loopback"), [
    ("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True),
    ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("server.example", False),
    ("localhost.example", False)])
def test_only_this_machine_is_loopback(host: str, is_loopback: bool) -> None:
    assert Settings(data=Path("d"), host=host).is_loopback is is_loopback


@pytest.mark.parametrize(("options", "cause"), [
    ({"host": ""}, "--host is empty"),
    ({"port": 65536}, "--port 65536"),
    ({"port": -1}, "--port -1"),
    ({"slots": 0}, r"--slots must be more than 0 \(got 0\)"),
    ({"max_queue": 0}, "--max-queue"),
    ({"max_upload_bytes": 0}, "--max-upload-mb"),
    ({"max_job_seconds": -1.0}, "--max-job-hours"),
    ({"max_job_seconds": float("nan")}, r"--max-job-hours must be more than 0 \(got nan\)"),
    ({"max_job_trials": 0}, "--max-job-trials"),
    ({"allow": frozenset({"paths", "all"})}, "--allow all: there is only code, paths, storage"),
])
def test_unusable_options_are_named(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Settings(data=Path("d"), **options)


class TestDataDir:
    def test_it_is_made_for_its_user_only(self, tmp_path: Path) -> None:
        folder = DataDir(tmp_path / "new" / "data")
        folder.make()

        for made in (folder.root, folder.slots, folder.jobs, folder.uploads, folder.data):
            assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert sorted(path.name for path in folder.root.iterdir()) == [
            "data", "folder-id", "jobs", "slots", "uploads"]

    def test_made_again_it_stays_the_same(self, tmp_path: Path) -> None:
        folder = DataDir(tmp_path)
        folder.make()
        found = folder.folder_id
        folder.make()

        assert folder.folder_id == found
        assert len(found) == 16

    def test_each_has_its_own_id(self, tmp_path: Path) -> None:
        folders = [DataDir(tmp_path / name) for name in "ab"]
        for folder in folders:
            folder.make()

        assert folders[0].folder_id != folders[1].folder_id

    def test_a_file_cannot_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for taken in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(InputError, match=r"--data .*file.*; give a folder"):
                DataDir(taken).make()

    def test_what_cannot_be_written_is_named(self) -> None:
        with pytest.raises(DiskError, match="--data /proc/none: "):
            DataDir(Path("/proc/none")).make()

    def test_one_that_was_never_made_has_no_id(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="folder of a server"):
            _ = DataDir(tmp_path).folder_id
