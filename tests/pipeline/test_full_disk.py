"""A disk that fills up at each step: one line that says how to go on, and going on works."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import full_disk

from cli.main import main
from hardware_profiles.profile_file import read_profile
from hardware_profiles.store import ProfileStore
from nas.core.errors import DiskError, ProfileError
from nas.pipeline.search import SearchResult, resume_search
from nas.pipeline.train import TrainRequest, train

pytestmark = pytest.mark.usefixtures("profile_cache")

SMALL = 400  # bytes that still fit


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, room: int = SMALL) -> str:
    """Runs a command on a full disk; returns its one line."""
    with full_disk(room):
        assert main(list(arguments)) in (1, 2)
    *progress, line = (line for line in capsys.readouterr().err.splitlines() if line.strip())
    assert all("━" in bar for bar in progress)
    assert line.startswith("nas: ")
    assert "File too large" in line
    assert "this is a bug" not in line
    return line


def test_starting_a_run(tiny_folder: Path, tmp_path: Path,
                        capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "search", "--supernet", str(tiny_folder), "--out", str(tmp_path / "run"))
    assert "profile.json" in line
    assert "remedy that" in line
    assert list(tmp_path.iterdir()) == []


def test_the_journal_and_the_picture_of_a_run(
        finished: SearchResult, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        check_equals_finished: Callable[[Path], None]) -> None:
    run = shutil.copytree(finished.run_dir, tmp_path / "run")
    journal = run / "study.journal"
    kept = journal.read_bytes().splitlines(keepends=True)[:12]
    journal.write_bytes(b"".join(kept))
    (run / "pareto.json").unlink()
    (run / "pareto.png").unlink()
    line = fails(capsys, "search", "--resume", str(run), room=journal.stat().st_size + 3000)
    assert "study.journal cannot be written" in line
    assert "resume" in line
    line = fails(capsys, "search", "--resume", str(run), room=35_000)  # the journal takes 31 kB
    assert f"pareto.png: File too large; remedy that, then go on with: nas search --resume {run}" \
        in line
    assert not (run / "pareto.json").exists()
    resume_search(run)
    check_equals_finished(run)


def test_a_front_that_cannot_be_replaced_stays(finished: SearchResult, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run_dir, tmp_path / "run")
    (run / "pareto.json").unlink()
    (run / "pareto.json").mkdir()
    with pytest.raises(DiskError, match=r"pareto\.json: Is a directory; .* nas search --resume"):
        resume_search(run)
    assert not list(run.glob(".*"))


def test_storing_a_profile(finished: SearchResult, tmp_path: Path) -> None:
    store, profile = ProfileStore(tmp_path), read_profile(finished.run_dir / "profile.json")
    with full_disk(SMALL), pytest.raises(ProfileError, match=r"File too large\); free space"):
        store.save(profile)
    assert list(tmp_path.iterdir()) == []
    store.save(profile)
    assert store.find(profile.key) == profile


def test_exporting(finished: SearchResult, tmp_path: Path,
                   capsys: pytest.CaptureFixture[str]) -> None:
    digest = finished.payload["best"]["digest"]
    line = fails(capsys, "export", str(finished.run_dir), "--digest", digest, "--out",
                 str(tmp_path / "bundle"))
    assert "nothing was left behind" in line
    assert list(tmp_path.iterdir()) == []


def test_training(request_for: Callable[..., TrainRequest], trained: Path, tmp_path: Path) -> None:
    request = request_for(tmp_path / "net", checkpoint_s=0)
    with full_disk(SMALL), pytest.raises(DiskError, match=r"checkpoint\.pt.* File too large; .*"
                                                          "the same command goes on"):
        train(request)
    assert list(request.out.iterdir()) == []
    shutil.copy(trained / "checkpoint.pt", request.out)
    with full_disk(SMALL), pytest.raises(DiskError, match=r"weights\.safetensors"):
        train(request)
    assert [path.name for path in request.out.iterdir()] == ["checkpoint.pt"]
    train(request)
    for path in trained.iterdir():
        assert (request.out / path.name).read_bytes() == path.read_bytes()
