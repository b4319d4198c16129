"""What tests of elastic HuBERTs share: small copies of the published spaces, random weights."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nas.core.arch import Arch, make_arch
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.supernet import HubertSupernet

TOLERANCE = 1e-5  # of hidden states, in single precision


def scaled(config: ElasticHubertConfig) -> ElasticHubertConfig:
    """Returns a space of the same genes at a sixteenth of the width."""
    return replace(config, width=config.width // 16,
                   embeds=tuple(embed // 16 for embed in config.embeds), head_dim=4,
                   frontend_width=16, position_kernel=16, position_groups=4)


def make_supernet(config: ElasticHubertConfig, *, seed: int = 0,
                  target_dim: int | None = None) -> HubertSupernet:
    """Returns a supernet whose every tensor is random: no norm or bias is what it starts as."""
    with torch.device("meta"):
        net = HubertSupernet(config, target_dim=target_dim)
    net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if name.endswith("weight_g"):
                continue  # follows from its direction
            if tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.normal_(std=0.8 * fan_in**-0.5, generator=generator)
            else:
                is_scale = "norm.weight" in name
                tensor.normal_(mean=float(is_scale), std=0.3, generator=generator)
        position = net.encoder.pos_conv_embed
        scale = torch.empty_like(position.weight_g).normal_(1.0, 0.3, generator=generator)
        position.weight_g.copy_(scale * position.norm_11K(position.weight_v))
    return net.eval()


def waves(batch: int = 2, samples: int = 4800, *, seed: int = 0) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def uniform_arch(net: HubertSupernet, *, embed: int, heads: int, ratio: float,
                 depth: int) -> Arch:
    """Returns the architecture whose layers are alike."""
    choices = {"embed": embed, "depth": depth}
    for layer in range(net.config.layers):
        choices |= {f"layer{layer}.heads": heads, f"layer{layer}.ratio": ratio}
    return make_arch(net.space, choices)


def random_archs(net: HubertSupernet, count: int, *, seed: int = 0) -> list[Arch]:
    codes = net.space.sample_codes(count, np.random.default_rng(seed))
    return net.space.decode(codes)


def furthest(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    """Returns the largest difference of any hidden states of two networks."""
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
