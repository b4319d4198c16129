"""The token of a client: given, in a file, or in the environment; never part of a message."""

import os
import re
from pathlib import Path

from nas.core.errors import InputError
from nas.core.files import os_error_line

VARIABLE = "NAS_TOKEN"


def find_token(token: str | None, file: Path | None) -> str | None:
    """Returns the token itself, else that of the file, else that of the environment, if any.

    Raises:
        InputError: Two are given, the file cannot be read, or what it holds is no token.
    """
    if token is not None and file is not None:
        raise InputError("a token and a file of one are given; drop one of them")
    if file is not None:
        token = _read(file)
    elif token is None:
        token = os.environ.get(VARIABLE) or None
    if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
        where = f"--token-file {file}: " if file else ""
        raise InputError(f"{where}this is no token; give the one line that nas serve token create "
                         "has printed")
    return token


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise InputError(f"--token-file {os_error_line(error)}; give the file that holds the token"
                         ) from None
    except ValueError:
        return ""
