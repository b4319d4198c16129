"""What is known of an uploaded file, in a card beside it."""

import json
import secrets
import time
from pathlib import Path

from nas.core.files import replace_file
from nas.service.folder import DataDir


def new_id() -> str:
    """Returns an id that nobody can guess."""
    return secrets.token_hex(16)


def write_card(folder: DataDir, upload_id: str, *, kind: str, user: str, size: int,
               sha256: str) -> None:
    """Writes what is known of an upload; from then on jobs can name it.

    Raises:
        OSError: It cannot be written.
    """
    card = {"kind": kind, "user": user, "bytes": size, "sha256": sha256, "created": time.time()}
    replace_file(folder.upload_card(upload_id), json.dumps(card).encode())


def sweep_uploads(folder: DataDir) -> None:
    """Removes what a server that was killed has left of uploads: no job can name it.

    Only while this process holds the folder: nothing is being uploaded then.
    """
    for path in folder.uploads.iterdir():
        is_card = path.suffix == ".json" and not path.name.startswith(".")
        if not is_card and not folder.upload_card(path.name).exists():
            path.unlink(missing_ok=True)


def uploaded_by(folder: DataDir, upload_id: str) -> str | None:
    """Returns whose upload it is; None: there is none of that id."""
    path: Path = folder.upload_card(upload_id)
    try:
        return str(json.loads(path.read_bytes())["user"])
    except FileNotFoundError:
        return None
