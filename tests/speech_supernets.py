"""A small supernet of speech encoders as a folder, with noise as speech and as the teacher."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from hubert_nets import make_supernet
from hubert_trainings import tiny_config

from supernets.hubert.stored import save_supernet
from supernets.tasks.distillation import TaughtWindows

# Three convolutions instead of seven, and three layers: exporting is tracing, which takes a while.
CONFIG = replace(tiny_config(), name="hubert-test/1", layers=3, depths=(2, 3), dropped=((1,), ()),
                 kernels=(10, 8, 8), strides=(5, 8, 8))
SHORTEST, HOP = 325, 320  # samples of its shortest clip, and from one frame to the next
DIM = 6
SAMPLES = 8_000  # of a window: half a second


def windows(count: int, *, seed: int) -> TaughtWindows:
    rng = np.random.default_rng(seed)
    frames = CONFIG.frames(SAMPLES)
    return TaughtWindows(rng.integers(-9_000, 9_000, (count, SAMPLES)).astype(np.int16),
                         rng.standard_normal((count, frames, DIM)).astype(np.float16))


def write_supernet(folder: Path) -> Path:
    """Writes it as `nas train` would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_supernet(folder, make_supernet(CONFIG, target_dim=DIM),
                  {split: windows(count, seed=count) for split, count in
                   (("train_calib", 8), ("search", 9), ("test", 16))}, {"trained_by": "nobody"})
    return folder
