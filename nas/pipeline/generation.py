"""A search of a supernet that makes images: what its quality is, and samples of its front."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.files import replace_file
from nas.core.protocols import Supernet, Task
from nas.core.trial import Outcome
from nas.pipeline.grid import grid_png
from nas.pipeline.run_dir import RunDir
from supernets.tasks.measures import FID
from supernets.tasks.visual_generation import VisualGeneration
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.sampling import Sampling

if TYPE_CHECKING:
    from nas.pipeline.config import SearchConfig

SEED = 0  # of the samples, in every run: so runs can be compared, too
CLASSES, EACH = 10, 2  # columns and rows of a grid


def makes_images(task: Task) -> bool:
    """Returns whether the networks of a task make images."""
    return isinstance(task, VisualGeneration)


def with_quality(supernet: Supernet, config: "SearchConfig") -> Supernet:
    """Gives a supernet that makes images the measure of `config`; others are left alone.

    Args:
        supernet: Its task is replaced.
        config: Of the search.

    Raises:
        InputError: Options that this supernet has no use for, or that its folder cannot meet.
    """
    task = supernet.task
    if not isinstance(task, VisualGeneration):
        for name in ("quality", "samples"):
            if getattr(config, name) is not None:
                raise InputError(f"--{name} is for supernets that make images, which "
                                 f"{config.supernet} does not; drop it")
        return supernet
    if config.quality is not None:
        if config.quality == FID and config.cascade:
            raise InputError("--cascade: images are generated anew for each validation, so that a "
                             "part costs as much; drop it")
        supernet.task = task.with_measure(config.quality, samples=config.samples)
    return supernet


def draw_samples(run: RunDir, supernet: Supernet, front: Sequence[Outcome]) -> None:
    """Writes a grid of images of each network of a front, where networks make images.

    Columns are classes and rows are seeds, the same ones for each network.

    Raises:
        OSError: A file cannot be written.
    """
    found: object = supernet
    if isinstance(found, ImageSupernet):
        run.samples.mkdir(exist_ok=True)
        for outcome in front:
            arch = outcome.trial.arch
            replace_file(run.samples / f"{arch.digest}.png", sample_grid(found, arch))


def sample_grid(supernet: ImageSupernet, arch: Arch) -> bytes:
    """Returns a PNG of `EACH` images of up to `CLASSES` classes, one class a column."""
    config = supernet.net.config
    columns = min(CLASSES, config.classes)
    classes = np.linspace(0, config.classes - 1, columns).round().astype(np.int64)
    labels = torch.from_numpy(np.tile(classes, EACH)).to(supernet.net.pos_1LC.device)
    made = generate(supernet.net, supernet.vae, labels, arch, seed=SEED,
                    sampling=Sampling(guidance=1.5 if config.rows == 2 else 0.0))
    return grid_png(made.images.cpu().numpy(), columns=columns)
