"""What a training of a VAR says of its networks, on held-out images of the search split."""

from collections.abc import Mapping
from typing import cast

import torch

from nas.core.protocols import Supernet
from nas.pipeline.train_var_images import VarImages
from supernets.tasks.classification import SPLITS
from supernets.tasks.visual_generation import TokenMaps, VisualGeneration
from supernets.training.validation import Validation
from supernets.var.image_supernet import ImageSupernet
from supernets.var.supernet import VarSupernet
from supernets.var.usage import codebook_usage, count_codes
from supernets.var.vae import MultiScaleVqvae

_BATCH = 64  # images


def vae_figures(vae: MultiScaleVqvae, images: VarImages) -> str:
    """Returns how well a VQVAE makes images anew, and how many codes it uses for them."""
    squares = torch.zeros((), dtype=torch.float64)
    counts_SV = torch.zeros(len(vae.config.patch_nums), vae.config.vocabulary, dtype=torch.int64)
    pixels = images.validated["search"].images
    for start in range(0, len(pixels), _BATCH):
        x_BCHW = images.task.to_input(pixels[start:start + _BATCH])
        tokens = vae.tokens(x_BCHW)
        squares += (vae.images(tokens) - x_BCHW).double().square().sum().cpu()
        counts_SV += count_codes(tokens, vae.config.vocabulary).cpu()
    used = float((counts_SV.sum(0) > 0).double().mean())
    last = codebook_usage(counts_SV)[-1]
    mean = float(squares) / (len(pixels) * vae.config.image_channels * vae.config.image_size**2)
    return (f"VQVAE: mean squared error {mean:.4f} of pixels in −1 … 1; {used:.0%} of the codes "
            f"are used, the last scale's perplexity is {last.perplexity:.0f}")


def split_maps(maps: Mapping[str, TokenMaps]) -> dict[str, TokenMaps]:
    """Returns the maps of the splits that are validated on."""
    return {split: maps[split] for split in SPLITS}


def var_figures(net: VarSupernet, vae: MultiScaleVqvae, maps: Mapping[str, TokenMaps]) -> str:
    """Returns how well the smallest, a middle and the whole network say tokens."""
    config = net.config
    task = VisualGeneration(
        splits=split_maps(maps), patch_nums=config.patch_nums, vocabulary=config.vocabulary,
        classes=config.classes, device=vae.quantize.embedding.weight.device)
    supernet = cast(Supernet, ImageSupernet(net, vae, task).eval())  # its space is of a subclass
    results = Validation()(supernet, task)
    errors = ", ".join(f"{name} {metrics['error']:.1f} %" for name, metrics in results.items())
    return f"cross-entropy of tokens, of that of a uniform guess: {errors}"
