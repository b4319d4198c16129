"""The use-case of `nas profile import-table`: a table that somebody else measured."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import user_store
from hardware_profiles.table_import import import_table, read_about, read_table
from nas.core.errors import InputError, NasError
from nas.core.registry import resolve
from nas.pipeline.compose import load_supernet


def import_profile_table(table: Path, *, about: Path, space: str,
                         only: Sequence[str] = ()) -> HardwareProfile:
    """Stores the profile of a table that others measured, in place of an old one.

    Args:
        table: The CSV file; see `hardware_profiles.table_import`.
        about: The TOML file that says what it is of.
        space: A supernet, or ``module:factory`` of something with `space`, `vocabulary` and, where
            the table names blocks otherwise, `table_key`.
        only: ``COLUMN=VALUE`` each, to pick rows. What the factory takes as a keyword of that
            name is given to it as well, as a whole number where it is one.

    Raises:
        InputError: Any of these cannot be used, or the table lacks a block of the space.
    """
    chosen = _choices(only)
    blocks = _blocks(space, chosen)
    profile = import_table(
        read_table(table, only=chosen), read_about(about), space=blocks.space,
        vocabulary=blocks.vocabulary,
        key_of=getattr(blocks, "table_key", lambda block: block.key))
    store = user_store()
    store.require_writable()
    store.save(profile)
    return profile


def _choices(only: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in only]
    for text, (name, equals, value) in zip(only, pairs, strict=True):
        if not (name and equals and value):
            raise InputError(f"--only {text}: give COLUMN=VALUE, such as resolution=224")
    return {name: value for name, _, value in pairs}


def _blocks(space: str, chosen: dict[str, str]) -> Any:
    if ":" not in space:
        return load_supernet(space)
    factory = resolve(space)
    try:
        names = inspect.signature(factory).parameters
        made = factory(**{name: int(value) if value.isdecimal() else value
                          for name, value in chosen.items() if name in names})
    except NasError:
        raise
    except Exception as error:  # whatever the code of a third party raises
        raise InputError(f"--space {space}: it failed with {type(error).__name__}: {error}; "
                         "--debug shows where") from error
    for name in ("space", "vocabulary"):
        if not hasattr(made, name):
            raise InputError(f"--space {space} gave a {type(made).__name__}, which has no {name!r}")
    return made
