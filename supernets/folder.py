"""A trained supernet as a folder: which family's code reads it.

A family is a module with the functions of `Family`; `_FAMILIES` has one line for each.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast

import torch

from nas.core.protocols import Supernet
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.card import CARD as CARD
from supernets.card import Card, read_card

_FAMILIES = {
    "hubert": "supernets.hubert.stored",
    "mobilenet": "supernets.mobilenet.stored",
    "timm": "supernets.timm.stored",
    "var": "supernets.var.stored",
}


class Family(Protocol):
    """What the module of a family can do with a folder that has a card of it."""

    def load(self, folder: Path, card: Card, *, device: torch.device) -> Supernet:
        """Returns the supernet in evaluation mode.

        Raises:
            DataError: A file or image is missing, damaged or another one.
        """

    def plan(self, folder: Path, card: Card, *, resolution: int | None, seconds: float | None
             ) -> tuple[GeneSpace, Vocabulary]:
        """Returns space and blocks without weights or images.

        Args:
            folder: Of the supernet.
            card: Of the folder.
            resolution: Side of the input images; None: what the supernet was trained on.
            seconds: Of a clip of speech; None: what the supernet validates on.

        Raises:
            DataError: The card is damaged.
            InputError: It cannot be at that size.
        """


def load_folder(folder: Path, *, device: torch.device | None = None) -> Supernet:
    """Returns the supernet of a folder in evaluation mode, channels last.

    Raises:
        DataError: The folder or a file of it is missing, damaged or of a newer version.
    """
    card, family = _opened(folder)
    return family.load(folder, card, device=device or torch.device("cpu"))


def load_plan(folder: Path, *, resolution: int | None = None,
              seconds: float | None = None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a folder's supernet, without its weights.

    Raises:
        DataError: There is no readable ``supernet.json``.
        InputError: It cannot be at that size.
    """
    card, family = _opened(folder)
    return family.plan(folder, card, resolution=resolution, seconds=seconds)


def _opened(folder: Path) -> tuple[Card, Family]:
    card = read_card(folder, families=list(_FAMILIES))
    return card, cast(Family, importlib.import_module(_FAMILIES[card.family]))
