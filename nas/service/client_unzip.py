"""Bundles as they come over the wire: archives of stored files, unpacked below one folder."""

import stat
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nas.core.files import sync_folder, write_chunks
from nas.service.client_errors import ServerError

_CHUNK = 2**20


def unzip(archive: Path, folder: Path, *, url: str) -> None:
    """Unpacks an archive of stored, not compressed files.

    So they are never larger than the archive is.

    Args:
        archive: The zip file.
        folder: Made if absent.
        url: Where it is from, for messages.

    Raises:
        ServerError: It is no such archive, is damaged, or would write elsewhere; nothing is
            written outside the folder.
        OSError: A file cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            _check(entries, archive.stat().st_size, url)
            folder.mkdir(exist_ok=True)
            for entry in entries:
                path = folder / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as content:
                    write_chunks(path, iter(partial(content.read, _CHUNK), b""))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ServerError(f"{url} sent a damaged bundle ({error}); download it again") from None
    for made in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(made)


def check_name(name: str, url: str) -> None:
    """Refuses a name that leads out of the folder, hides there, or means something else elsewhere.

    Raises:
        ServerError: It is such a name.
    """
    bad = (not part or part.startswith(".") or set(part) & {"\\", ":"} for part in name.split("/"))
    if not name.isprintable() or any(bad):
        raise ServerError(f"{url} sends a file by the name {name!r}, which is none of a run "
                          "folder; nothing was kept")


def _check(entries: Sequence[zipfile.ZipInfo], size: int, url: str) -> None:
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ServerError(f"{url} sent a bundle whose files overlap; nothing was kept")
    for entry in entries:
        check_name(entry.filename, url)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.compress_type != zipfile.ZIP_STORED or kind not in (0, stat.S_IFREG):
            raise ServerError(f"{url} sent a bundle in which {entry.filename!r} is no plain file, "
                              "stored; nothing was kept")
