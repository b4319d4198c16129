"""Images of classes, from a transformer and the VQVAE whose codes it speaks.

Legend: B images, T tokens of a scale, H and W sides, E channels of a code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.var.decoding import CachedDecoder
from supernets.var.sampling import Sampling, drawn, filtered, guided, image_uniforms, strength_at
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import check_pair


@dataclass(frozen=True, slots=True)
class Generated:
    """What was made.

    Attributes:
        images: (B, channels, H, W) in −1 … 1.
        tokens: A map for each scale, (B, T) int64 each.
        kv_bytes: Bytes of the caches that it took.
    """

    images: Tensor
    tokens: list[Tensor]
    kv_bytes: int


@torch.no_grad()
def generate(net: VarSupernet, vae: MultiScaleVqvae, labels_B: Tensor, arch: Arch, *,
             sampling: Sampling, seed: int, first: int = 0,
             key_dtype: torch.dtype | None = None, value_dtype: torch.dtype | None = None,
             freed: bool = True, after_scale: Callable[[int], None] | None = None) -> Generated:
    """Returns images of classes.

    Equal seeds and indices give equal random numbers, whatever the batch and the subnet.

    Args:
        net: The transformer.
        vae: Its VQVAE, on the same device.
        labels_B: Classes, int64.
        arch: The subnet.
        sampling: How tokens are drawn.
        seed: Of the random numbers, ≥ 0.
        first: Index of the first image.
        key_dtype: As of `CachedDecoder`.
        value_dtype: As of `CachedDecoder`.
        freed: As of `CachedDecoder`.
        after_scale: Called with each scale, from 0, as soon as it is made: for progress and
            timing.

    Raises:
        ArchError: An architecture of another space.
        InputError: No image or no class, or sampling that the net cannot do.
        SpaceError: A VQVAE with other codes.
    """
    config, quantizer = net.config, vae.quantize
    check_pair(config, vae.config)
    sampling.check(config)
    if not len(labels_B):
        raise InputError("no label, no image; give one for each")
    uniforms_BL = image_uniforms(config, images=len(labels_B), seed=seed, first=first).to(
        labels_B.device)
    copies = 2 if sampling.guidance else 1
    rows = torch.cat((labels_B, torch.full_like(labels_B, config.classes))[:copies])
    decoder = CachedDecoder(net, rows, arch, key_dtype=key_dtype, value_dtype=value_dtype,
                            freed=freed)
    f_hat, tokens, inputs_BTE = quantizer.blank(len(labels_B)), [], None
    for scale, end in enumerate(config.ends):
        logits = decoder.step(inputs_BTE)
        if copies == 2:
            logits = guided(logits, strength_at(scale, config.scales, sampling.guidance))
        allowed = filtered(logits, top_k=sampling.top_k, top_p=sampling.top_p)
        tokens.append(drawn(allowed, uniforms_BL[:, end - logits.shape[1]:end]))
        f_hat = f_hat + quantizer.contribution(tokens[-1], scale)
        if scale + 1 < config.scales:
            weights = net.word_embed.weight
            inputs_BTE = quantizer.scale_input(f_hat, scale + 1).to(weights.dtype).repeat(
                copies, 1, 1)
        if after_scale is not None:
            after_scale(scale)
    return Generated(vae.image(f_hat.to(vae.post_quant_conv.weight.dtype)).clamp(-1, 1), tokens,
                     decoder.kv_bytes)
