"""URLs of databases in messages: without their passwords. Imports no optuna."""

import re
from pathlib import Path


def is_url(storage: Path | str) -> bool:
    """Returns whether this is a database's URL, not a journal's path."""
    return not isinstance(storage, Path) and "://" in storage


def shown(storage: Path | str) -> str:
    """Returns the path or URL for messages: without the password that a URL may hold."""
    text = re.sub(r"(://[^/:@]*):[^?]*@", r"\1:***@", str(storage))
    return re.sub(r"([?&](?:ssl)?passw(?:or)?d=)[^&]*", r"\1***", text)


def cause_line(error: BaseException) -> str:
    """Returns what lies at the bottom of an error, in one line."""
    # Optuna wraps SQLAlchemy's errors, which wrap the driver's.
    while error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    line = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    return re.sub(r"[^\s'\"]*@", "***@", line)  # of a password with an @, half is taken for a host
