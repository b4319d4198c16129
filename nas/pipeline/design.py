"""What a supernet's networks are made of, without its weights where that is possible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.blocks import Block
from nas.core.errors import InputError
from nas.core.registry import resolve
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, at_resolution, build_space
from supernets.registry import SUPERNETS

TIMM = "timm:"


@dataclass(frozen=True, slots=True)
class Design:
    """A space, its blocks, and the map from codes (N, genes) to block ids (N, slots), −1 empty."""

    space: GeneSpace
    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]


def load_design(name: str, *, resolution: int | None = None) -> Design:
    """Returns the design of a supernet by folder, registered name or ``module:factory``.

    Args:
        name: Of the supernet.
        resolution: Side of the input images, in pixels; None: what the supernet was trained on.

    Raises:
        InputError: There is none of that name, or it cannot be at that resolution.
    """
    folder = Path(name)
    if folder.is_dir() and "/" in name:
        from supernets.folder import load_plan  # brings torch, which a registered name spares

        space, vocabulary = load_plan(folder, resolution=resolution)
        return Design(space, vocabulary.blocks, vocabulary.block_ids)
    require_trained(name)
    entry = SUPERNETS.get(name)
    if "config" in entry.info:
        return _of_config(resolve(entry.info["config"]), resolution)
    if resolution is not None:
        raise InputError(f"--resolution {resolution}: only a supernet of a known family can be "
                         f"planned at another resolution, {name} cannot; drop the option")
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


def _of_config(config: MobileNetConfig, resolution: int | None) -> Design:
    if resolution is not None:
        config = at_resolution(config, resolution)
    space = build_space(config)
    vocabulary = build_vocabulary(config, space)
    return Design(space, vocabulary.blocks, vocabulary.block_ids)
