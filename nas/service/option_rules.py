"""What single options of a job may name: rules, each for one kind of option."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import InputError
from nas.core.registry import Registry
from nas.pipeline.design import TIMM
from nas.pipeline.rank_request import VALIDATION
from nas.service.folder import DataDir
from nas.service.settings import Settings
from nas.service.store.errors import ServiceError
from supernets.registry import SUPERNETS

CODE, PATHS, STORAGE = "code", "paths", "storage"  # of `Settings.allow`

_MODEL = re.compile(r"timm:[A-Za-z0-9_.-]+")
_LOCAL = re.compile(r"(folder|idx|wds/.*|torch/\w+)?", re.IGNORECASE)  # data sets that are files
_SHOWN = 100  # characters of a value in a message


class NotAllowed(ServiceError, InputError):
    """An option of a job that this server does not take.

    Attributes:
        field: The option's name in the configuration.
    """

    code = "not_allowed"
    status = 422

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(NotAllowed):
    """A job of more trials than this server takes."""

    code = "too_large"


@dataclass(frozen=True, slots=True)
class Asked:
    """An option of a job, and the server that it is asked of."""

    field: str
    settings: Settings
    folder: DataDir

    @property
    def option(self) -> str:
        """As on the command line."""
        return f"--{self.field.replace('_', '-')}"

    def require(self, what: str, value: object, why: str) -> None:
        """Passes where the admin allows it.

        Raises:
            NotAllowed: The line that says why not.
        """
        if what not in self.settings.allow:
            raise self.refusal(value, why)

    def refusal(self, value: object, why: str) -> NotAllowed:
        """Returns the error of a value, in one line whatever the value is."""
        text = str(value)
        if not text.isprintable() or len(text) > _SHOWN:
            text = repr(text[:_SHOWN])
        return NotAllowed(f"{self.option} {text}: {why}", field=self.field)


Rule = Callable[[Asked, Any], Any]  # (option, value) → the value that the worker is given


def plain_text(asked: Asked, value: Any) -> Any:
    """Passes text that names nothing outside the job."""
    del asked
    return value


def inside(asked: Asked, value: str | Path) -> Path:
    """Returns a path in DIR/data relative to DIR, symbolic links resolved."""
    root = os.path.realpath(asked.folder.data)
    target = os.path.realpath(Path(root, value))  # unlike `Path.resolve`, no error on a loop
    if target == root or target.startswith(root + os.sep):
        return Path("data", os.path.relpath(target, root))
    asked.require(PATHS, value, "a job may name what is in the data folder of the server alone, "
                                "as a path relative to it")
    return Path(target)


def supernet(asked: Asked, value: str) -> str:
    """Passes names, and folders as `inside` does; what is none of both the worker refuses."""
    if any(entry.name == value for entry in SUPERNETS.entries) or value.startswith(TIMM):
        return value
    if ":" in value:
        asked.require(CODE, value, "a job may name no code on this server; give one of `nas list "
                                   "supernets`, or a folder in the server's data folder")
        return value
    path = inside(asked, value)
    is_there = os.path.lexists(asked.folder.root / path)
    is_name = "/" not in value and not value.startswith(".") and not is_there
    return value if is_name else str(path)


def registered(registry: Registry, *others: str) -> Rule:
    """Returns the rule for names of a registry, one or several, and `others`."""

    def rule(asked: Asked, value: str | Sequence[str]) -> Any:
        known = {*others, *(entry.name for entry in registry.entries)}
        for name in [value] if isinstance(value, str) else value:
            if ":" in name and name not in known:
                asked.require(CODE, name, "a job may name no code on this server; give a name of "
                                          f"{', '.join(sorted(known))}")
        return value

    return rule


def models(asked: Asked, value: str | Sequence[str]) -> Any:
    """Passes models of timm by a plain name: others it reads from the network."""
    for name in [value] if isinstance(value, str) else value:
        if not _MODEL.fullmatch(name):
            asked.require(CODE, name, "a job may name a model as timm:NAME alone")
    return value


def truth(asked: Asked, value: str) -> str:
    """Passes what a ranking is compared with: validation, or a file as `inside` does."""
    return value if value == VALIDATION else str(inside(asked, value))


def dataset(asked: Asked, value: str) -> str:
    """Passes kinds of data sets that are files in the data folder."""
    if not _LOCAL.fullmatch(value):
        asked.require(CODE, value, "a job may read images from the server's data folder alone: "
                                   "folder, idx, wds/NAME or torch/NAME")
    return value


def offline(asked: Asked, value: Any) -> Any:
    """Refuses what fetches something."""
    asked.require(CODE, str(value).lower(), "a job may fetch nothing from the network; drop it")
    return value


def own_ledger(asked: Asked, value: Any) -> Any:
    """Refuses what shares a ledger with others."""
    asked.require(STORAGE, value, "a job of this server keeps its ledger in its own folder; "
                                  "drop it")
    return value


def of_server(asked: Asked, value: Any) -> Any:
    """Refuses what follows from the job's folder and from how the server was started."""
    raise asked.refusal(value, "that is for the server to say; drop it")
