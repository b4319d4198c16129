"""What tests of timm supernets share: pictures whose class can be seen, and quick profiles."""

from pathlib import Path

import numpy as np
from PIL import Image

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import ProfileStore
from nas.pipeline.design import load_design

CLASSES = ("bar", "dot", "frame")
EACH, SIDE = 60, 32


def picture(label: int, rng: np.random.Generator) -> Image.Image:
    """A noisy picture whose class can be seen."""
    pixels = rng.integers(0, 100, (36, 40, 3), dtype=np.uint8)
    part = (slice(14, 20), slice(12, 24), slice(0, 7))[label]
    pixels[part, part if label == 1 else slice(None)] += 120
    return Image.fromarray(pixels)


def write_pictures(root: Path, *, seed: int = 0) -> Path:
    """Makes a folder of pictures for each class."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(EACH):
            picture(label, rng).save(root / name / f"{number:03d}.png")
    return root


def quick_profile(folder: Path, cache: Path) -> None:
    """Stores a profile of this machine for a supernet's space."""
    design = load_design(str(folder))
    quick = HostConfig(calib_nets=10, test_nets=10, protocol=MeasureProtocol(
        warm_up=1, runs=3, passes=2, max_passes=2))
    ProfileStore(cache / "profiles").save(profile_host(
        design.space, design.vocabulary, design.block_ids, seed=0, config=quick))
