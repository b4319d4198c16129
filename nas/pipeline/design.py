"""What a supernet's networks are made of, without its weights where that is possible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.blocks import Block
from nas.core.registry import resolve
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, build_space
from supernets.registry import SUPERNETS


@dataclass(frozen=True, slots=True)
class Design:
    """A space, its blocks, and the map from codes (N, genes) to block ids (N, slots), −1 empty."""

    space: GeneSpace
    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]


def load_design(name: str) -> Design:
    """Returns the design of a supernet by folder, registered name or ``module:factory``.

    Raises:
        InputError: There is none of that name.
    """
    folder = Path(name)
    if folder.is_dir() and "/" in name:
        from supernets.folder import read_config  # brings torch, which a registered name spares

        return _of_config(read_config(folder))
    entry = SUPERNETS.get(name)
    if "config" in entry.info:
        return _of_config(resolve(entry.info["config"]))
    from nas.pipeline.compose import load_supernet

    supernet = load_supernet(name)
    return Design(supernet.space, supernet.vocabulary, supernet.block_ids)


def _of_config(config: MobileNetConfig) -> Design:
    space = build_space(config)
    vocabulary = build_vocabulary(config, space)
    return Design(space, vocabulary.blocks, vocabulary.block_ids)
