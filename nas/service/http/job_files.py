"""What of a job's folder may be downloaded: results, not locks, not what is half written."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.service.folder import DataDir
from nas.service.store.jobs import Job

# Media types are said, never guessed from what a file holds.
MEDIA = {".html": "text/html; charset=utf-8", ".json": "application/json", ".png": "image/png",
         ".journal": "text/plain; charset=utf-8", ".jsonl": "text/plain; charset=utf-8",
         ".toml": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
RESULT = "result.json"


def listed(folder: DataDir, job_id: str) -> list[tuple[str, int]]:
    """Returns name and bytes of each file of a job, by name."""
    found = []
    for path in _candidates(folder, job_id):
        status = _regular(path)
        if status is not None:
            found.append((path.name, status.st_size))
    return sorted(found)


def path_of(folder: DataDir, job_id: str, name: str) -> Path | None:
    """Returns where a file of that name is; None: there is none that may be downloaded."""
    if not _may_be_shown(name):
        return None
    path = folder.result(job_id) if name == RESULT else folder.run(job_id) / name
    return None if _regular(path) is None else path


def result_of(folder: DataDir, job: Job) -> Any:
    """Returns what a job has given; None: it has not ended, or there is nothing.

    A pruning that misses its budget has failed and has given something all the same.
    """
    if job.state not in ("done", "failed"):
        return None
    try:
        return json.loads(folder.result(job.id).read_bytes())
    except FileNotFoundError:  # somebody tidied up
        return None


def bundle_of(folder: DataDir, job: Job) -> Path | None:
    """Returns the bundle folder of a job; None: there is none yet, or it makes none."""
    if job.kind == "search":
        bundle = folder.run(job.id) / "best"
    else:  # where it lies depends on what was asked for; an export may add to the search's own
        result = result_of(folder, job)
        if not isinstance(result, dict) or not isinstance(result.get("bundle"), str):
            return None
        bundle = folder.root / result["bundle"]
        if not bundle.resolve().is_relative_to(folder.jobs.resolve()):
            return None
    return bundle if (bundle / "manifest.json").is_file() else None


def bundle_files(bundle: Path) -> list[tuple[str, Path]]:
    """Returns name in the bundle and path of each of its files, by name."""
    found = []
    for base, folders, names in os.walk(bundle):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base) / name
            if not name.startswith(".") and _regular(path) is not None:
                found.append((path.relative_to(bundle).as_posix(), path))
    return sorted(found)


def _candidates(folder: DataDir, job_id: str) -> Iterator[Path]:
    yield folder.result(job_id)
    try:
        with os.scandir(folder.run(job_id)) as entries:
            yield from (Path(entry.path) for entry in entries if _may_be_shown(entry.name))
    except FileNotFoundError:
        return


def _may_be_shown(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and Path(name).suffix in MEDIA


def _regular(path: Path) -> os.stat_result | None:
    # A link could lead anywhere.
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None
