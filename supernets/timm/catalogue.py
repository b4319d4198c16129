"""The timm models that are known to become supernets, without making any of them."""

import difflib
import fnmatch
import json
from functools import cache
from pathlib import Path
from typing import Any

from nas.core.errors import InputError

_FILE = Path(__file__).with_name("models.json")


def listed(pattern: str) -> list[dict[str, Any]]:
    """Returns name, family, axes, number of genes, exact space size and parameters of models.

    The file they stand in was written by making each one with the timm version that it names.

    Args:
        pattern: Of names, as a shell has it: ``"mobilenet*"``.

    Raises:
        InputError: No name matches.
    """
    known = {model["name"]: model for model in _models()["models"]}
    models = [dict(model) for name, model in known.items() if fnmatch.fnmatchcase(name, pattern)]
    if not models:
        near = difflib.get_close_matches(pattern.strip("*"), known)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InputError(f"no timm model {pattern!r} is known to become a supernet{hint} "
                         "(`nas list supernets --timm '*'` shows all; others may: name one with "
                         "`nas train --supernet timm:NAME`)")
    return models


def timm_version() -> str:
    """Returns the version of timm that the models were looked at with."""
    return str(_models()["timm"])


@cache
def _models() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found
