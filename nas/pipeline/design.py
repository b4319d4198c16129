"""What a supernet's networks are made of, without its weights where that is possible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.blocks import Block
from nas.core.errors import InputError
from nas.core.registry import resolve
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from supernets.registry import SUPERNETS

TIMM = "timm:"


@dataclass(frozen=True, slots=True)
class Design:
    """A space, its blocks, and the map from codes (N, genes) to block ids (N, slots), −1 empty."""

    space: GeneSpace
    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]


def load_design(name: str, *, resolution: int | None = None,
                seconds: float | None = None) -> Design:
    """Returns the design of a supernet by folder, registered name or ``module:factory``.

    Args:
        name: Of the supernet.
        resolution: Side of the input images, in pixels; None: what the supernet was trained on.
        seconds: Of a clip of speech; None: what the supernet validates on.

    Raises:
        InputError: There is none of that name, or it cannot be at that size.
    """
    folder = Path(name)
    if folder.is_dir() and "/" in name:
        from supernets.folder import load_plan  # brings torch, which a registered name spares

        space, vocabulary = load_plan(folder, resolution=resolution, seconds=seconds)
        return Design(space, vocabulary.blocks, vocabulary.block_ids)
    require_trained(name)
    entry = SUPERNETS.get(name)
    if "design" in entry.info:
        space, vocabulary = resolve(entry.info["design"])(
            resolve(entry.info["config"]), resolution=resolution, seconds=seconds)
        return Design(space, vocabulary.blocks, vocabulary.block_ids)
    for option, value in (("--resolution", resolution), ("--seconds", seconds)):
        if value is not None:
            raise InputError(f"{option} {value:g}: only a supernet of a known family can be "
                             f"planned at another size, {name} cannot; drop the option")
    from nas.pipeline.compose import load_supernet

    supernet = load_supernet(name)
    return Design(supernet.space, supernet.vocabulary, supernet.block_ids)


def require_trained(name: str) -> None:
    """Checks that a name is not that of a timm model, of which there is no supernet yet.

    Raises:
        InputError: It is one.
    """
    if name.startswith(TIMM):
        raise InputError(f"{name} is no supernet yet; make one of it with your images: nas train "
                         f"--supernet {name} --data DIR --out FOLDER (--epochs 0 makes it without "
                         "training), then give FOLDER")
