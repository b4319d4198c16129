"""What an uploaded file must be before a job can name it."""

import struct
import threading
import zipfile
from pathlib import Path
from typing import Literal

from hardware_profiles.agent_result import read_result
from hardware_profiles.bundle_manifest import read_bundle
from nas.core.errors import InputError

UploadKind = Literal["result", "bundle"]

RESULT_BYTES = 16 * 10**6  # the agent's files have less than a tenth of it; JSON is read at once
MOST_ENTRIES = 20_000  # of a bundle; a zip's list of them is read at once
_ONE_AT_A_TIME = threading.Lock()


def check_upload(path: Path, kind: UploadKind, *, max_bytes: int) -> None:
    """Lets a file pass that `nas profile import` would read. Blocks.

    Args:
        path: Of the file.
        kind: What it is said to be.
        max_bytes: Of what it unpacks to.

    Raises:
        InputError: It is something else, damaged, or unpacks to too much; the message does not
            say where on the server it lies.
    """
    try:
        if kind == "result":
            size = path.stat().st_size
            if size > RESULT_BYTES:
                raise InputError(f"result {path} has {size} bytes, and none of an agent has more "
                                 f"than {RESULT_BYTES}; upload the result.json that it wrote")
            with _ONE_AT_A_TIME:
                read_result(path)
        else:
            _require_small(path, max_bytes)
            read_bundle(path)
    except InputError as error:
        raise type(error)(str(error).replace(str(path), "that was uploaded")) from None


def _require_small(path: Path, max_bytes: int) -> None:
    if _entries(path) > MOST_ENTRIES:
        raise InputError(f"bundle {path} has more than {MOST_ENTRIES} entries; make it again with "
                         "fewer networks")
    try:
        with zipfile.ZipFile(path) as bundle:
            size = sum(entry.file_size for entry in bundle.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # `read_bundle` says what is wrong
    if size > max_bytes:
        raise InputError(f"the bundle unpacks to {size} bytes, and this server takes {max_bytes}; "
                         "make it again with fewer networks")


def _entries(path: Path) -> int:
    # From the record at the end, before the list itself is read; 65,535 stands for "or more".
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 22 - 65_535))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    return struct.unpack_from("<H", tail, at + 10)[0] if 0 <= at <= len(tail) - 22 else 0
