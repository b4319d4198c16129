"""Downloads of what a job has made: a folder that is whole or not there."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2

from nas.core.errors import InputError
from nas.core.files import whole_folder, write_chunks, write_synced
from nas.pipeline.config import SearchConfig
from nas.pipeline.run_dir import RunDir
from nas.service.client_errors import ServerError
from nas.service.client_unzip import check_name, unzip
from nas.service.client_wait import Away
from nas.service.client_wire import Wire
from nas.service.http.models import JobDetail

PAYLOADS = ("pareto.json", "compare.json")  # these say in which folder the run is
RESULT = "result.json"  # of a search, what these hold
_CHUNK = 2**20
_ZIP = ".bundle.zip"


def new_folder(config: SearchConfig) -> Path:
    """Returns where the run folder of a search goes: as of a search here.

    Raises:
        InputError: The folder exists.
    """
    if config.out is not None and config.out.exists():
        raise InputError(f"{config.out} exists; give another --out")
    return RunDir.new_path(config)


def download_job(wire: Wire, job: JobDetail, out: Path) -> None:
    """Downloads all files of a job that has ended, and its bundle, into a new folder.

    The bundle of a search is in ``best``, as in its run folder, and that of a pruning in
    ``bundle``; that of an export is the folder itself.

    Raises:
        InputError: `out` exists.
        ServerError: Something is not as the server says, or it stayed away for too long.
        OSError: A file cannot be written; then nothing is left.
    """
    if out.exists():
        raise InputError(f"{out} exists; give another --out")
    is_bundle = job.kind == "export" and job.bundle
    with whole_folder(out) as folder:
        for file in () if is_bundle else job.files:
            if job.kind == "search" and file.name == RESULT:
                continue
            check_name(file.name, wire.url)
            _fetch(wire, f"jobs/{job.id}/files/{quote(file.name)}", folder / file.name,
                   size=file.bytes)
        for name in PAYLOADS:
            if (folder / name).is_file():
                _rename_run(folder / name, out, wire)
        if job.bundle:
            _fetch(wire, f"jobs/{job.id}/bundle", folder / _ZIP)
            place = {"search": folder / "best", "export": folder}.get(job.kind, folder / "bundle")
            unzip(folder / _ZIP, place, url=wire.url)
            (folder / _ZIP).unlink()


def _fetch(wire: Wire, path: str, target: Path, *, size: int | None = None) -> None:
    # One file, from its beginning again where the connection breaks.
    patience = wire.patience()
    while True:
        try:
            with wire.download(path) as response:
                write_chunks(target, _counted(response, size, wire.url))
            return
        except Away as away:
            if not wire.may_come_back(away):
                raise
            patience.wait(away, away.retry_after_s)


def _counted(response: httpx2.Response, size: int | None, url: str) -> Iterator[bytes]:
    count = 0
    for chunk in response.iter_bytes(_CHUNK):
        count += len(chunk)
        if size is not None and count > size:
            break
        yield chunk
    if size is not None and count != size:
        name = response.url.path.rpartition("/")[2]
        raise ServerError(f"{url} has listed {name} with {size} bytes and sends "
                          f"{'more' if count > size else count}; download it again")


def _rename_run(path: Path, out: Path, wire: Wire) -> None:
    try:
        payload = {**json.loads(path.read_bytes()), "run_dir": str(out)}
    except (ValueError, TypeError):
        raise wire.stranger(f"{path.name} holds no JSON object") from None
    write_synced(path, (json.dumps(payload, indent=1) + "\n").encode())
