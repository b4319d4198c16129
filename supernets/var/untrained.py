"""What stands for the sizes of VAR whose weights do not come with the project."""

from functools import partial
from typing import TYPE_CHECKING

from nas.core.errors import InputError
from nas.core.protocols import Supernet

if TYPE_CHECKING:
    import torch


def _untrained(name: str, *, device: "torch.device") -> Supernet:
    del device
    raise InputError(f"{name} has no weights yet; train it: nas train --supernet {name} --data "
                     "IMAGES --out FOLDER, then give FOLDER")


d16, d20, d24, d30 = (partial(_untrained, f"var-d{depth}") for depth in (16, 20, 24, 30))
