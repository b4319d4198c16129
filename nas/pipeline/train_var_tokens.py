"""All images of a training as token maps, made once; a stopped pass goes on.

Legend: N images, L tokens of an image.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.pipeline.train_var_images import TRAINING, VarImages
from supernets.hubert.teacher import weights_digest
from supernets.tasks.visual_generation import TokenMaps
from supernets.training.checkpoint import Checkpoint
from supernets.var.training import token_maps
from supernets.var.vae import MultiScaleVqvae


def made_tokens(vae: MultiScaleVqvae, images: VarImages, file: Path, *, batch_size: int,
                checkpoint_s: float, on_image: Callable[[int, int], None]) -> dict[str, TokenMaps]:
    """Returns the token maps of the training images and of each split to validate on.

    Args:
        vae: In evaluation mode, on the device of the images' task.
        images: All.
        file: That keeps the maps.
        batch_size: Images at once.
        checkpoint_s: Seconds of work that a kill may cost.
        on_image: Is called with the images done and those in all.

    Raises:
        DataError: The file is damaged, or of other images or another VQVAE.
        OSError: It cannot be written.
    """
    parts = {TRAINING: images.training, **images.validated}
    total = sum(len(part.labels) for part in parts.values())
    checkpoint = Checkpoint(path=file, identity={
        "weights of the VQVAE": weights_digest(vae), **images.identity()})
    done: list[np.ndarray[Any, Any]] = []
    checkpoint.read(lambda state: done.append(state["tokens"].numpy()))
    known, saved_at = sum(map(len, done)), time.monotonic()
    start = 0
    for part in parts.values():
        for first in range(max(0, known - start), len(part.labels), batch_size):
            rows = slice(first, first + batch_size)
            batch = images.task.to_input(part.images[rows]), torch.from_numpy(
                part.labels[rows].astype(np.int64))
            done.append(token_maps(vae, [batch]).tokens_NL)
            count = start + min(len(part.labels), first + batch_size)
            on_image(count, total)
            if count == total or time.monotonic() - saved_at > checkpoint_s:
                done = [np.concatenate(done)]
                checkpoint.write({"tokens": torch.from_numpy(done[0])})
                saved_at = time.monotonic()
        start += len(part.labels)
    return _divided(np.concatenate(done), {name: part.labels for name, part in parts.items()})


def _divided(tokens_NL: np.ndarray[Any, Any], labels: Mapping[str, np.ndarray[Any, Any]]
             ) -> dict[str, TokenMaps]:
    ends = np.cumsum([len(part) for part in labels.values()])
    pieces = np.split(tokens_NL, ends[:-1])
    return {name: TokenMaps(piece, part.astype(np.uint16))
            for (name, part), piece in zip(labels.items(), pieces, strict=True)}
