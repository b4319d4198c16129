"""Names → ``module:attribute`` strings. Nothing is imported until an entry is resolved."""

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from nas.core.errors import InputError, NasError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered thing.

    Attributes:
        name: What the user types.
        target: ``module:attribute`` of the factory.
        info: Facts for ``nas list``.
    """

    name: str
    target: str
    info: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self) -> Any:
        """Imports the target.

        Raises:
            InputError: There is no such module or attribute.
        """
        return resolve(self.target)


@dataclass(frozen=True)
class Registry:
    """The entries of one kind, with those that installed packages add by entry point.

    Attributes:
        kind: Singular, such as ``"supernet"``.
        builtin: The project's own entries.
        plural: Where it is not the kind with an s; the entry-point group is ``nas.<plural>``.
    """

    kind: str
    builtin: Sequence[Entry]
    plural: str | None = None

    @property
    def group(self) -> str:
        """The entry-point group in which other packages register."""
        return f"nas.{self.plural or self.kind + 's'}"

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, the project's own first; a third party cannot replace one of those."""
        own = {entry.name for entry in self.builtin}
        found = [Entry(point.name, point.value, {"source": point.dist.name if point.dist else ""})
                 for point in entry_points(group=self.group) if point.name not in own]
        return (*self.builtin, *found)

    def get(self, name: str) -> Entry:
        """Returns the entry of a name, or of ``module:attribute`` written out.

        Raises:
            UnknownNameError: No such name; the message has the nearest ones.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        if ":" in name:
            return Entry(name, name)
        raise UnknownNameError(unknown_name(self.kind, name, [e.name for e in self.entries],
                                            plural=self.plural))


def made(kind: str, name: str, members: Sequence[str], factory: Callable[[], Any]) -> Any:
    """Returns what a factory makes; it may be a third party's, or any ``module:attribute``.

    Raises:
        InputError: The factory fails, or what it made lacks one of the members.
    """
    try:
        found = factory()
    except NasError:
        raise
    except Exception as error:
        raise InputError(f"{kind} {name!r} cannot be made ({type(error).__name__}: {error}); "
                         "--debug shows where") from error
    missing = [member for member in members if not hasattr(found, member)]
    if missing:
        raise InputError(f"{name!r} is no {kind}: it gave a {type(found).__name__}, which has no "
                         f"{missing[0]!r}; see nas.core.protocols")
    return found


def unknown_name(kind: str, name: str, known: Sequence[str], *, plural: str | None = None) -> str:
    """Returns the message for a name that is not known, with the nearest known ones."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
    return f"unknown {kind} {name!r}; {hint} (`nas list {plural or kind + 's'}` shows all)"


def resolve(target: str) -> Any:
    """Imports ``module:attribute``.

    Raises:
        InputError: There is no such module or attribute, or the module fails as it is imported.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or module_name.startswith("."):
        raise InputError(f"{target!r} is not of the form module:attribute")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"{target!r}: no module {error.name!r}; check the spelling and that it "
                         "is installed") from None
    except Exception as error:  # whatever the code of a third party raises
        raise InputError(f"{target!r}: importing {module_name} failed with "
                         f"{type(error).__name__}: {error}; --debug shows where") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{target!r}: module {module_name} has no {attribute!r}") from None
