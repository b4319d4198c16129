"""Options as people write them: ``10m``, ``error=8.0,latency_ms=1.2``, ``population=20``.

Each function takes what a TOML file gives as well, and leaves that for the configuration to check;
a text that it cannot read is a ValueError, which the configuration turns into its one line.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Scalar = bool | int | float | str

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> Any:
    """Returns the seconds of such as ``"90"``, ``"90s"``, ``"10m"`` or ``"2h"``."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", value.strip())
    if found is None:
        raise ValueError("give seconds, or a number with s, m or h, such as 90s, 10m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def bounds(value: Any) -> Any:
    """Returns metric → bound of such as ``"error=8.0,latency_ms=1.2"``."""
    if not isinstance(value, str):
        return value
    return {name: _number(text) for name, text in _pairs(value.split(","))}


def options(value: Any) -> Any:
    """Returns keyword → value of such as ``("population=20", "mutation=0.2")``.

    A value is a whole number, a number, ``true`` or ``false``, or else a text.
    """
    if isinstance(value, Mapping) or not isinstance(value, Sequence):
        return value
    return {name: _scalar(text) for name, text in _pairs(value)}


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, equals, value = (part.strip() for part in str(text).partition("="))
        if not name or not equals or not value:
            raise ValueError(f"{str(text).strip()!r} is not of the form NAME=VALUE")
        if name in dict(pairs):
            raise ValueError(f"{name!r} is given twice")
        pairs.append((name, value))
    return pairs


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _scalar(text: str) -> Scalar:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
