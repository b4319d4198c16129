"""The card of a trained supernet's folder, and the files that it vouches for.

``supernet.json`` has the family, the configuration, the task, where all comes from, and the hash of
each other file that belongs to the supernet. What is in `Card.config` and `Card.task` is the
family's business: see `supernets.folder`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from nas.core.errors import DataError
from nas.core.files import replace_file, sha256

SCHEMA_VERSION = 1
CARD, WEIGHTS = "supernet.json", "weights.safetensors"
AGAIN = "train or install it again"

_Model = TypeVar("_Model", bound=BaseModel)


class Card(BaseModel):
    """What ``supernet.json`` says.

    Attributes:
        schema_version: Of the file.
        family: Which kind of supernet it is.
        config: Its configuration, as the family writes it.
        task: Its task, as the family writes it.
        sha256: File name → hash.
        provenance: Where it comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1]
    family: StrictStr
    config: dict[str, Any]
    task: dict[str, Any]
    sha256: dict[StrictStr, StrictStr]
    provenance: dict[str, Any]


def write_folder(folder: Path, *, family: str, config: Mapping[str, Any], task: Mapping[str, Any],
                 files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> None:
    """Writes a supernet into an existing folder.

    Each file is replaced whole, the card last: a folder with a card that was stopped in between
    fails its hashes until the same supernet is saved again.

    Args:
        folder: Where to.
        family: Of the supernet.
        config: Its configuration: JSON values.
        task: Its task: JSON values.
        files: Name → content.
        provenance: Where it comes from: JSON values.

    Raises:
        OSError: A file cannot be written.
    """
    card = {"schema_version": SCHEMA_VERSION, "family": family, "config": dict(config),
            "task": dict(task), "sha256": {name: sha256(data) for name, data in files.items()},
            "provenance": dict(provenance)}
    for name, content in files.items():
        replace_file(folder / name, content)
    replace_file(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())


def read_card(folder: Path, *, families: list[str]) -> Card:
    """Returns the card of a folder.

    Args:
        folder: Of the supernet.
        families: Those that can be read.

    Raises:
        DataError: There is none, or it is damaged, of a newer version or of another family.
    """
    path = folder / CARD
    try:
        payload = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{folder} is no supernet folder: it has no {CARD}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); {AGAIN}") from None
    found = payload if isinstance(payload, dict) else {}
    version, family = found.get("schema_version"), found.get("family")
    if version != SCHEMA_VERSION or family not in families:
        raise DataError(f"{path} is of schema {version!r} and family {family!r}; this version "
                        f"reads schema {SCHEMA_VERSION} of family "
                        f"{' or '.join(map(repr, families))}")
    return validated(Card, payload, where=path)


def validated(model: type[_Model], payload: Any, *, where: Path, part: str = "") -> _Model:
    """Returns a card, or a part of it.

    Args:
        model: What it must be.
        payload: What was read.
        where: File, for the message.
        part: Name of the part; empty for the whole card.

    Raises:
        DataError: It is damaged; the message names what.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (*([part] if part else []), *first["loc"])))
        raise DataError(f"{where} is damaged ({place}: {first['msg']}); {AGAIN}") from None


def read_file(folder: Path, name: str, card: Card) -> bytes:
    """Returns the content of a file that a card vouches for.

    Raises:
        DataError: The file or its hash is missing, or they differ.
    """
    path = folder / name
    if name not in card.sha256:
        raise DataError(f"{folder / CARD} is damaged (sha256: no hash of {name}); {AGAIN}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"supernet {folder} lacks {name}; {AGAIN}") from None
    if sha256(data) != card.sha256[name]:
        raise DataError(f"{path} is damaged (its SHA-256 is not the one in {CARD}); {AGAIN}")
    return data
