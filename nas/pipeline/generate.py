"""The use-case of `nas generate`: images of classes, from a supernet or a bundle, as one picture.

Legend: B images at a time, T tokens of a scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from nas.core.errors import InputError
from nas.core.files import replace_file
from nas.core.types import IntArray
from nas.export.manifest import MANIFEST
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.grid import grid_png

BATCH, GUIDANCE = 16, 1.5
_WIDEST = 16  # columns


class GenerateRequest(BaseModel):
    """What is asked for.

    Attributes:
        source: Name or folder of a supernet, or folder of a bundle.
        classes: Indices or names; none for all in turn.
        n: Images.
        seed: Of the random numbers.
        cfg: Guidance of the last scale; None: 1.5 where the network can be guided.
        top_k: The likeliest codes that may be drawn; 0: all.
        top_p: Their least probability together; 0: all.
        batch: Images at a time.
        bridge: First scales that run all layers; of a supernet.
        depth: Layers of the other scales; of a supernet.
        max_latency_ms: Of one image on this machine, as its profile has it; of a supernet.
        max_kv_mb: Of the caches of a batch.
        out: The picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    classes: tuple[str, ...] = ()
    n: int = Field(default=16, ge=1)
    seed: int = Field(default=0, ge=0)
    cfg: float | None = None
    top_k: int = 0
    top_p: float = 0.0
    batch: int = Field(default=BATCH, ge=1)
    bridge: int | None = None
    depth: int | None = None
    max_latency_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_kv_mb: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    out: Path = Path("grid.png")

    @property
    def at_once(self) -> int:
        """Images of the largest batch."""
        return min(self.n, self.batch)


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of images.

    Attributes:
        images: (B, channels, H, W) in −1 … 1.
        kv_bytes: Bytes of the caches that it took.
        seconds: On the wall clock.
    """

    images: NDArray[np.float32]
    kv_bytes: int
    seconds: float


class Maker(Protocol):
    """A network that is ready to make images.

    Attributes:
        facts: ``runtime``, ``arch``, ``depths`` of each scale, and ``predicted_latency_ms`` where
            it was asked for.
        classes: How many there are.
        labels: Their names, or none.
    """

    facts: Mapping[str, Any]
    classes: int
    labels: Sequence[str]

    def __call__(self, labels: IntArray, *, first: int) -> Made:
        """Returns images of classes, (B,), the first of this index."""


def generate(request: GenerateRequest, *, watch: Watcher = silent) -> Mapping[str, Any]:
    """Makes images, writes them as a picture, and returns what there is to know as JSON values.

    Raises:
        InputError: No such network or class, or sampling that it cannot do.
        ConstraintError: A bound that no network is within.
        OSError: The picture cannot be written.
    """
    if not request.out.parent.is_dir():  # better found out before than after the work
        raise InputError(f"--out: folder {request.out.parent} does not exist; make it first")
    maker = _opened(request)
    chosen = [_index(text, maker) for text in request.classes] or list(range(maker.classes))
    labels = np.resize(np.array(chosen), request.n)
    made: list[Made] = []
    for first in range(0, request.n, request.at_once):
        watch(Event("images", first, request.n))
        made.append(maker(labels[first:first + request.at_once], first=first))
    watch(Event("images", request.n, request.n))
    images = np.concatenate([batch.images for batch in made])
    replace_file(request.out, grid_png(images, columns=_columns(request.n, len(chosen))))
    return {"source": request.source, **maker.facts, "images": request.n, "seed": request.seed,
            "classes": labels.tolist(), "batch": request.at_once,
            "seconds_per_image": sum(batch.seconds for batch in made) / request.n,
            "kv_bytes": max(batch.kv_bytes for batch in made), "out": str(request.out)}


def _opened(request: GenerateRequest) -> Maker:
    # Each is imported alone: a bundle needs no torch.
    if (Path(request.source) / MANIFEST).is_file():
        from nas.pipeline.generate_bundle import BundleMaker

        return BundleMaker(request)
    from nas.pipeline.generate_supernet import SupernetMaker

    return SupernetMaker(request)


def _index(text: str, maker: Maker) -> int:
    # Of a class by its index or, whatever its case, its name.
    names = [name.casefold() for name in maker.labels]
    if text.casefold() in names:
        return names.index(text.casefold())
    try:
        index = int(text)
    except ValueError:
        known = f"{', '.join(maker.labels)}, or " if names else ""
        raise InputError(f"--class: there is no class {text!r}; give {known}an index of 0 … "
                         f"{maker.classes - 1}") from None
    if not 0 <= index < maker.classes:
        raise InputError(f"--class: class {index} is outside 0 … {maker.classes - 1}")
    return index


def _columns(images: int, classes: int) -> int:
    # A class a column where that is a picture of a usual shape.
    if 1 < classes <= min(images, _WIDEST):
        return classes
    return int(np.ceil(np.sqrt(images)))
