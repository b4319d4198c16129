"""A small VAR with random weights, and what judges it, as a supernet folder."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from var_nets import SMALL, SMALL_VAE, perturbed, random_tokens, small_net, small_vae

from supernets.tasks.classification import SPLITS
from supernets.tasks.visual_generation import TokenMaps
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.metrics import FeatureStatistics, feature_statistics
from supernets.var.samples import image_features
from supernets.var.stored import save_supernet

SMALL_FEATURES = ClassifierConfig(name="small-features/1", image_size=24, image_channels=1,
                                  classes=3, widths=(4, 6))


def small_classifier(config: ClassifierConfig = SMALL_FEATURES) -> FeatureClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FeatureClassifier(config).eval()


def noise_images(count: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 24, 24, generator=generator) * 2 - 1


def small_splits(images: int = 6) -> dict[str, TokenMaps]:
    found = {}
    for seed, split in enumerate(SPLITS):
        tokens = torch.cat(random_tokens(small_vae(), images, seed=seed), 1)
        labels = np.arange(images) % SMALL.classes
        found[split] = TokenMaps(tokens.numpy().astype(np.uint16), labels.astype(np.uint16))
    return found


def small_statistics() -> FeatureStatistics:
    net = small_classifier()
    return feature_statistics(net.name, image_features(net, noise_images(40)))


def save_small(folder: Path) -> Path:
    """Writes the supernet into a new folder and returns it."""
    folder.mkdir()
    save_supernet(folder, small_net(SMALL), perturbed(small_vae(SMALL_VAE)), small_classifier(),
                  small_splits(), small_statistics(), {"made": "for tests"})
    return folder
