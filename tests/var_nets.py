"""Small VARs and VQVAEs whose weights are far from their start, where a gate is all but closed."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from supernets.var.config import VarConfig
from supernets.var.supernet import TeacherForced, VarSupernet
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import VaeConfig

Net = TypeVar("Net", bound=nn.Module)

SMALL = VarConfig(name="small/1", patch_nums=(1, 2, 3, 4), depth=9, width=16, head_dim=4,
                  depths=(2, 4, 8), bridges=(1, 2, 3, 4), vocabulary=24, code_dim=4, classes=3)

SMALL_VAE = VaeConfig(name="small-vae/1", image_size=24, patch_nums=(1, 2, 3, 4), strides=(2, 3),
                      multipliers=(1, 2, 2), width=4, image_channels=1, blocks=1, groups=2,
                      vocabulary=24, code_dim=4)


def perturbed(net: Net, *, seed: int = 0) -> Net:
    """Adds noise to all weights, so that no part of the net is as good as absent."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.3 * noise
    return net.eval()


def small_net(config: VarConfig = SMALL, *, seed: int = 0) -> VarSupernet:
    generator = torch.Generator().manual_seed(seed)
    return perturbed(VarSupernet(config, generator=generator), seed=seed)


def small_vae(config: VaeConfig = SMALL_VAE, *, seed: int = 0) -> MultiScaleVqvae:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultiScaleVqvae(config).eval()


def random_tokens(vae: MultiScaleVqvae, images: int, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vae.config.vocabulary, (images, side**2), generator=generator)
            for side in vae.config.patch_nums]


def teacher_forced(vae: MultiScaleVqvae, tokens: list[Tensor], *, classes: int) -> TeacherForced:
    inputs = vae.quantize.teacher_inputs(tokens).detach()
    return TeacherForced(inputs, torch.arange(len(inputs)) % (classes + 1))
