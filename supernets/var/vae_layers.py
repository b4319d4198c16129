"""The convolutional encoder and decoder of the VQVAE, with VAR's names of weights.

The layout is that of latent diffusion's autoencoder (Rombach et al., arXiv 2112.10752), which VAR
took over: residual blocks at each resolution, attention at the coarsest. Here a resolution may be
any factor coarser than the one before, not 2 alone.

Legend: B batch, C channels, H and W sides, N positions H·W.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from supernets.var.vae_config import VaeConfig


def _norm(config: VaeConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two convolutions behind norms; a third of kernel 1 where the channels change."""

    def __init__(self, config: VaeConfig, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = _norm(config, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = (nn.Identity() if channels == out_channels
                             else nn.Conv2d(channels, out_channels, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, out_channels, H, W)."""
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x_BCHW))))))
        out: Tensor = self.nin_shortcut(x_BCHW) + y
        return out


class Attention(nn.Module):
    """Self-attention of all positions with one head as wide as the channels."""

    def __init__(self, config: VaeConfig, channels: int) -> None:
        super().__init__()
        self.norm = _norm(config, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W)."""
        q_BNC, k_BNC, v_BNC = self.qkv(self.norm(x_BCHW)).flatten(2).transpose(1, 2).chunk(3, -1)
        # With an axis of heads, without which ONNX has no attention.
        y_BNC = F.scaled_dot_product_attention(q_BNC[:, None], k_BNC[:, None],
                                               v_BNC[:, None])[:, 0]
        y: Tensor = x_BCHW + self.proj_out(y_BNC.transpose(1, 2).reshape(x_BCHW.shape))
        return y


class Downsample(nn.Module):
    """A convolution that makes sides a factor smaller, padded on the right and at the bottom.

    Its kernel is one larger than the factor, which for the factor 2 is VAR's.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, factor + 1, stride=factor)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H/factor, W/factor)."""
        y: Tensor = self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Every position a factor larger, then a convolution."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = float(factor)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H·factor, W·factor)."""
        y: Tensor = self.conv(F.interpolate(x_BCHW, scale_factor=self.factor, mode="nearest"))
        return y


class Middle(nn.Module):
    """The blocks at the coarsest resolution between encoder and codes, or codes and decoder."""

    def __init__(self, config: VaeConfig, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(config, channels, channels)
        self.attn_1 = Attention(config, channels)
        self.block_2 = ResidualBlock(config, channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W)."""
        y: Tensor = self.block_2(self.attn_1(self.block_1(x_BCHW)))
        return y


class Resolution(nn.Module):
    """The blocks of one resolution, each followed by attention at the coarsest.

    What leads to the next resolution, if there is one, has its name in VAR's encoder or decoder.
    """

    def __init__(self, config: VaeConfig, channels: int, out_channels: int, *, blocks: int,
                 attends: bool, downsample: nn.Module | None = None,
                 upsample: nn.Module | None = None) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(config, channels if index == 0 else out_channels, out_channels)
            for index in range(blocks))
        self.attn = nn.ModuleList(Attention(config, out_channels)
                                  for _ in range(blocks if attends else 0))
        self.downsample, self.upsample = downsample, upsample

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, out_channels, H', W')."""
        for index, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if len(self.attn):
                x_BCHW = self.attn[index](x_BCHW)
        for following in (self.downsample, self.upsample):
            if following is not None:
                x_BCHW = following(x_BCHW)
        return x_BCHW


class Encoder(nn.Module):
    """From an image to a latent of the codes' channels."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.width * multiplier for multiplier in config.multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.image_channels, config.width, 3, padding=1)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            down = Downsample(width, config.strides[level]) if level < last else None
            self.down.append(Resolution(config, widths[level - 1] if level else config.width, width,
                                        blocks=config.blocks, attends=level == last,
                                        downsample=down))
        self.mid = Middle(config, widths[-1])
        self.norm_out = _norm(config, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.code_dim, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Returns (B, code_dim, H/factor, W/factor)."""
        x = self.conv_in(image_BCHW)
        for stage in self.down:
            x = stage(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class Decoder(nn.Module):
    """From a latent to an image."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.width * multiplier for multiplier in config.multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.code_dim, widths[-1], 3, padding=1)
        self.mid = Middle(config, widths[-1])
        self.up = nn.ModuleList()  # from fine to coarse, as it is named; it runs backwards
        for level, width in enumerate(widths):
            up = Upsample(width, config.strides[level - 1]) if level else None
            self.up.append(Resolution(config, widths[min(level + 1, last)], width,
                                      blocks=config.blocks + 1, attends=level == last,
                                      upsample=up))
        self.norm_out = _norm(config, widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.image_channels, 3, padding=1)

    def forward(self, f_BCHW: Tensor) -> Tensor:
        """Returns (B, image_channels, H·factor, W·factor), not clipped."""
        x = self.mid(self.conv_in(f_BCHW))
        for stage in reversed(self.up):
            x = stage(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out
