"""What the benchmarks of `var-fmnist` have in common: the net, real images, figures of a subnet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.core.arch import Arch
from supernets.folder import load_folder
from supernets.tasks.idx import read_split
from supernets.var.evaluate import RealImages, evaluate_generation, real_images
from supernets.var.feature_fid import FeatureFid
from supernets.var.image_supernet import ImageSupernet
from supernets.var.samples import Caches
from supernets.var.sampling import Sampling

IMAGES = Path("/usr/share/datasets/fashion-mnist")
SHIPPED = Path(__file__).parents[2] / "supernets" / "shipped" / "var_fmnist"
BRIDGE = 4  # of 6 scales, the paper's 6 of 10
SAMPLES, SEEDS = 2000, (0, 1, 2)
SAMPLING = Sampling()


def pixels(prefix: str) -> tuple[Tensor, Tensor]:
    """Returns images (N, 1, 28, 28) in −1 … 1 of ``train`` or ``t10k``, and their classes."""
    images, labels = read_split(IMAGES, prefix)
    return (torch.from_numpy(images.astype(np.float32) / 127.5 - 1)[:, None],
            torch.from_numpy(labels.astype(np.int64)))


@dataclass
class Bench:
    """A trained net and the 10,000 test images that it is judged by."""

    folder: Path = SHIPPED
    net: ImageSupernet = field(init=False)
    fid: FeatureFid = field(init=False)
    real: RealImages = field(init=False)

    def __post_init__(self) -> None:
        net = load_folder(self.folder)
        assert isinstance(net, ImageSupernet)
        self.net = net
        sampler = net.task.sampler  # type: ignore[attr-defined]
        assert isinstance(sampler, FeatureFid)
        self.fid = sampler
        self.real = real_images(self.fid.classifier, pixels("t10k")[0])

    def figures(self, arch: Arch, *, seeds: Sequence[int] = SEEDS, samples: int = SAMPLES,
                caches: Caches | None = None, sampling: Sampling = SAMPLING) -> dict[str, Any]:
        """Returns figures of a subnet's images, for each seed."""
        found = [evaluate_generation(self.net.net, self.net.vae, arch, self.fid.classifier,
                                     self.real, samples=samples, sampling=sampling, seed=seed,
                                     caches=caches) for seed in seeds]
        return {"fid": [round(one.fid, 3) for one in found],
                "fid_mean": round(float(np.mean([one.fid for one in found])), 3),
                "accuracy": [one.accuracy for one in found],
                "accuracy_mean": round(float(np.mean([one.accuracy or 0 for one in found])), 2),
                "precision": [round(one.precision, 3) for one in found],
                "recall": [round(one.recall, 3) for one in found],
                "kv_bytes_of_batch": found[0].kv_bytes_peak, "batch": found[0].batch,
                "class_accuracies": [round(value, 1) for value in found[0].class_accuracies]}

    def validated(self, arch: Arch, split: str = "test") -> dict[str, float]:
        """Returns the task's metrics on held-out token maps."""
        task = self.net.task
        return dict(task.metrics(self.net.extract(arch), task.batches(split)))
