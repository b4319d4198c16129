"""Checks that the configurations of this family share. Each raises `SpaceError`."""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any

from nas.core.errors import SpaceError


def check_text(what: str, value: Any) -> None:
    """Raises `SpaceError` if a value is no text."""
    if not isinstance(value, str) or not value:
        raise SpaceError(f"{what} is {value!r}, which is no text")


def check_counts(name: str, **counts: Any) -> None:
    """Raises `SpaceError` if one of the values is no positive integer."""
    for what, value in counts.items():
        if type(value) is not int or value < 1:
            raise SpaceError(f"{name}: {what} {value!r} must be a positive integer")


def read_fields(kind: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a configuration, lists as tuples; no key missing or unknown."""
    known = {field.name: field.default is MISSING for field in fields(kind)}
    unknown = sorted(set(data) - set(known))
    missing = sorted(name for name, needed in known.items() if needed and name not in data)
    if unknown or missing:
        what = f"has no key {missing[0]!r}" if missing else f"has an unknown key {unknown[0]!r}"
        raise SpaceError(f"the {kind.__name__} {what}; write it with dataclasses.asdict")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def is_ascending(values: Sequence[int]) -> bool:
    """Returns whether there are values, all integers, each above the one before."""
    return (bool(values) and all(type(value) is int for value in values)
            and all(a < b for a, b in pairwise(values)))


def check_patch_nums(name: str, sides: Sequence[int]) -> None:
    """Checks the sides of token maps."""
    if not is_ascending(sides) or sides[0] < 1 or len(sides) < 2:
        raise SpaceError(f"{name}: patch numbers {tuple(sides)} must be two or more positive "
                         "integers, ascending")


def check_rates(name: str, rates: Iterable[tuple[str, Any]]) -> None:
    """Checks that each is a float in 0 … 1, below 1."""
    for what, rate in rates:
        if not isinstance(rate, float) or not 0 <= rate < 1:
            raise SpaceError(f"{name}: {what} {rate!r} must be a float, at least 0 and below 1")
