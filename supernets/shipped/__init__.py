"""Trained supernets that come with the package, one folder each."""

from pathlib import Path

import torch

from nas.core.protocols import Supernet
from supernets.folder import load_folder


def mobilenet_fmnist(*, device: torch.device) -> Supernet:
    """Returns the supernet trained on Fashion-MNIST by ``nas train``."""
    return load_folder(Path(__file__).parent / "mobilenet_fmnist", device=device)


def hubert_digits(*, device: torch.device) -> Supernet:
    """Returns the supernet of speech encoders that was trained on Italian and Russian prompts."""
    return load_folder(Path(__file__).parent / "hubert_digits", device=device)


def var_fmnist(*, device: torch.device) -> Supernet:
    """Returns the supernet that makes images, trained on Fashion-MNIST."""
    return load_folder(Path(__file__).parent / "var_fmnist", device=device)
