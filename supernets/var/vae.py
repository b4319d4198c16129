"""The VQVAE of a VAR: images to token maps and back.

VAR: Tian et al., arXiv 2404.02905, section 3.2. Its authors did not publish how they trained it.

Legend: B batch, C channels, H and W sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.var.quantizer import MultiScaleQuantizer
from supernets.var.vae_config import VaeConfig
from supernets.var.vae_layers import Decoder, Encoder


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What a VQVAE makes of images.

    Attributes:
        images: (B, C, H, W), not clipped.
        tokens: A map for each scale, (B, T) int64 each.
        loss: Of the quantisation; a scalar. See `quantizer.Quantised`.
    """

    images: Tensor
    tokens: list[Tensor]
    loss: Tensor


class MultiScaleVqvae(nn.Module):
    """Encoder, quantiser and decoder, for images in −1 … 1.

    Args:
        config: Sizes.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = MultiScaleQuantizer(config)
        self.quant_conv = nn.Conv2d(config.code_dim, config.code_dim, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(config.code_dim, config.code_dim, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Reconstruction:
        """Returns images through codes, with gradients for all weights.

        Raises:
            InputError: Images of other channels or sides.
        """
        found = self.quantize(self.latent(image_BCHW))
        return Reconstruction(self.image(found.latent), found.tokens, found.loss)

    @torch.no_grad()
    def tokens(self, image_BCHW: Tensor) -> list[Tensor]:
        """Returns the token map of each scale, (B, T) int64 each."""
        return self.quantize.encode(self.latent(image_BCHW))

    @torch.no_grad()
    def images(self, tokens: Sequence[Tensor]) -> Tensor:
        """Returns the images of token maps, (B, C, H, W), clipped to −1 … 1."""
        return self.image(self.quantize.decode(tokens)).clamp(-1, 1)

    def latent(self, image_BCHW: Tensor) -> Tensor:
        """Returns the latent before quantisation, (B, code_dim, H/factor, W/factor)."""
        size = self.config.image_size
        if image_BCHW.shape[1:] != (self.config.image_channels, size, size):
            raise InputError(f"{self.config.name} takes images (B, {self.config.image_channels}, "
                             f"{size}, {size}), not {tuple(image_BCHW.shape)}")
        f: Tensor = self.quant_conv(self.encoder(image_BCHW))
        return f

    def image(self, f_hat_BCHW: Tensor) -> Tensor:
        """Returns the image of a quantised latent, (B, C, H, W), not clipped."""
        image: Tensor = self.decoder(self.post_quant_conv(f_hat_BCHW))
        return image
