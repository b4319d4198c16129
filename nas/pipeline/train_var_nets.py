"""What a training of a VAR starts with: its configuration for these classes, and both networks."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from nas.core.errors import InputError
from nas.core.registry import resolve
from nas.pipeline.train_request import TrainRequest
from supernets.registry import SUPERNETS
from supernets.var.checkpoint_files import read_weights
from supernets.var.checkpoints import load_vae, load_var
from supernets.var.config import VarConfig
from supernets.var.presets import VAES
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import VaeConfig, check_pair


def configs_of(name: str) -> tuple[VarConfig, VaeConfig]:
    """Returns the configurations of a registered VAR and of its VQVAE.

    Raises:
        InputError: No VQVAE is known of it.
        SpaceError: One with other codes.
    """
    entry = SUPERNETS.get(name)
    config: VarConfig = resolve(entry.info["config"])
    if name not in VAES:
        raise InputError(f"supernet {name!r} cannot be trained anew: no VQVAE is known of it, as "
                         f"it is of {', '.join(VAES)}")
    check_pair(config, VAES[name])
    return config, VAES[name]


def for_classes(config: VarConfig, name: str, classes: int) -> VarConfig:
    """Returns the configuration for so many classes, with another name if they are others."""
    if classes == config.classes:
        return config
    return dataclasses.replace(config, name=f"{name}-{classes}/1", classes=classes)


def start_var(request: TrainRequest, config: VarConfig) -> VarSupernet:
    """Returns the transformer that is trained: that of `--weights`, or one of random weights.

    Raises:
        DataError: See `load_var`.
    """
    if request.weights is not None:
        return load_var(request.weights, config)
    return VarSupernet(config, generator=torch.Generator().manual_seed(request.seed))


def start_vae(request: TrainRequest, config: VaeConfig) -> MultiScaleVqvae:
    """Returns the VQVAE: that of `--vae`, or one of random weights.

    Raises:
        DataError: See `load_vae`.
    """
    if request.vae is not None:
        return load_vae(request.vae, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        return MultiScaleVqvae(config)


def check_codes(weights: Path, vae: MultiScaleVqvae) -> None:
    """Checks that a file of VAR's trainer, which has a VQVAE, too, has this one.

    Raises:
        InputError: It has one with other codes.
        DataError: See `read_weights`.
    """
    theirs = read_weights(weights, "vae_local").get("quantize.embedding.weight")
    ours = vae.quantize.embedding.weight.detach().cpu()
    if theirs is not None and not torch.equal(theirs.float(), ours):
        raise InputError(f"--weights {weights} are of a trainer whose VQVAE has other codes than "
                         "that of --vae; give the same file for both")


@torch.no_grad()
def round_to_half(net: nn.Module) -> None:
    """Sets all weights to what half precision makes of them, in their own precision."""
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
