"""What an uploaded file must be before a job can name it."""

import zipfile
from pathlib import Path
from typing import Literal

from hardware_profiles.agent_result import read_result
from hardware_profiles.bundle_manifest import read_bundle
from nas.core.errors import InputError

UploadKind = Literal["result", "bundle"]


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
            read_result(path)
        else:
            _require_small(path, max_bytes)
            read_bundle(path)
    except InputError as error:
        raise type(error)(str(error).replace(str(path), "that was uploaded")) from None


def _require_small(path: Path, max_bytes: int) -> None:
    try:
        with zipfile.ZipFile(path) as bundle:
            size = sum(entry.file_size for entry in bundle.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # `read_bundle` says what is wrong
    if size > max_bytes:
        raise InputError(f"the bundle unpacks to {size} bytes, and this server takes {max_bytes}; "
                         "make it again with fewer networks")
