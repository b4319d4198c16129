"""Labels of architectures from a file: CSV ``digest,value`` or a JSON object."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.core.errors import DataError
from nas.core.files import os_error_line
from nas.core.types import FloatArray

_COLUMNS = ("digest", "value")


def load_labels(path: Path, digests: Sequence[str]) -> FloatArray:
    """Returns the labels of the digests, in their order, (N,). The file may have more.

    Raises:
        DataError: As in `read_labels`, or an architecture that the file lacks.
    """
    found = read_labels(path)
    missing = [digest for digest in digests if digest not in found]
    if missing:
        raise DataError(f"labels {path} lack {len(missing)} of {len(digests)} architectures, the "
                        f"first is {missing[0]}; add them or rank fewer")
    return np.array([found[digest] for digest in digests], dtype=np.float64)


def read_labels(path: Path) -> Mapping[str, float]:
    """Returns digest → label of everything in a file; JSON if its name ends so, else CSV.

    Raises:
        DataError: A file that cannot be read, is of another form, repeats a digest, or has a
            label that is no finite number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"labels {os_error_line(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"labels {path} are not UTF-8 text; save them as CSV or JSON") from None
    pairs = _json_pairs(path, text) if path.suffix == ".json" else _csv_pairs(path, text)
    found: dict[str, float] = {}
    for digest, value in pairs:
        if digest in found:
            raise DataError(f"labels {path}: {digest} is there twice; keep one of them")
        found[digest] = _number(path, digest, value)
    return found


def _csv_pairs(path: Path, text: str) -> list[tuple[str, object]]:
    rows = [row for row in csv.reader(text.lstrip("\ufeff").splitlines()) if row]
    if not rows or tuple(name.strip() for name in rows[0]) != _COLUMNS:
        raise DataError(f"labels {path} must begin with the line {','.join(_COLUMNS)}")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(_COLUMNS):
            raise DataError(f"labels {path}: row {number} has {len(row)} fields, not "
                            f"{len(_COLUMNS)}")
    return [(row[0].strip(), row[1]) for row in rows[1:]]


def _json_pairs(path: Path, text: str) -> list[tuple[str, object]]:
    try:
        # As pairs, because a dictionary would hide a digest that is there twice.
        pairs = json.loads(text, object_pairs_hook=lambda pairs: tuple(pairs))
    except json.JSONDecodeError as error:
        raise DataError(f"labels {path}, line {error.lineno}: {error.msg}; it is no JSON"
                        ) from None
    if not isinstance(pairs, tuple):
        raise DataError(f"labels {path} must be one JSON object, digest → value")
    return list(pairs)


def _number(path: Path, digest: str, value: object) -> float:
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise DataError(f"labels {path}: the value of {digest} is {value!r}, not a finite number; "
                        "evaluate it again or leave the row out")
    return number
