"""From samples to frames: convolutions that no subnet slices, and which frames are padding.

Legend: B batch, S samples, T frames, C channels.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.tasks.waves import SAMPLE_RATE


class ConvBlock(nn.Module):
    """A convolution, layer norm over its channels, GELU; names as in transformers."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, bias=False)
        self.layer_norm = nn.LayerNorm(out_channels)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Returns (B, C', T')."""
        # GELU before the transpose back: it reads and writes what lies together.
        return F.gelu(self.layer_norm(self.conv(x_BCT).transpose(1, 2))).transpose(1, 2)

    def channels_last(self, x_BC1T: Tensor) -> Tensor:
        """Returns (B, C', 1, T'), channels last in memory: the norm then needs no copies."""
        weight = self.conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        y_BC1T = F.conv2d(x_BC1T, weight, stride=(1, self.conv.stride[0]))
        return F.gelu(self.layer_norm(y_BC1T.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Frontend(nn.Module):
    """The convolutions in front of a HuBERT, with a layer norm in each block."""

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        inputs = (1, *(config.frontend_width for _ in config.kernels[1:]))
        self.conv_layers = nn.ModuleList(
            ConvBlock(channels, config.frontend_width, kernel, stride) for channels, kernel, stride
            in zip(inputs, config.kernels, config.strides, strict=True))

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Returns the features (B, T, C); in training mode they are computed channels last."""
        if self.training:
            x_BC1T = wave_BS[:, None, None]
            for block in self.conv_layers:
                x_BC1T = cast(ConvBlock, block).channels_last(x_BC1T)
            return x_BC1T[:, :, 0].transpose(1, 2)
        x_BCT = wave_BS[:, None]
        for block in self.conv_layers:
            x_BCT = block(x_BCT)
        return x_BCT.transpose(1, 2)


def kept_frames(config: ElasticHubertConfig, lengths_B: Tensor, frames: int) -> Tensor:
    """Returns which frames are made of real samples alone, (B, T) bool.

    Args:
        config: Its convolutions.
        lengths_B: Real samples of each clip, which precede its padding.
        frames: T.
    """
    for kernel, stride in zip(config.kernels, config.strides, strict=True):
        lengths_B = torch.div(lengths_B - kernel, stride, rounding_mode="floor") + 1
    return torch.arange(frames, device=lengths_B.device) < lengths_B[:, None]


def check_wave(config: ElasticHubertConfig, wave_BS: Tensor,
               padding_BS: Tensor | None = None) -> None:
    """Refuses what is no batch of clips that the convolutions can take.

    Raises:
        InputError: Another shape, clips shorter than the receptive field, a padding mask of another
            shape or type, or padding in front of samples.
    """
    shortest = config.receptive_field
    if wave_BS.dim() != 2:
        raise InputError(f"waveforms have shape (clips, samples), not {tuple(wave_BS.shape)}; give "
                         "one channel")
    if wave_BS.shape[1] < shortest:
        raise InputError(f"clips of {wave_BS.shape[1]} samples are shorter than one frame "
                         f"({shortest} samples, {1000 * shortest / SAMPLE_RATE:g} ms); leave them "
                         "out")
    if padding_BS is None:
        return
    if padding_BS.shape != wave_BS.shape or padding_BS.dtype != torch.bool:
        raise InputError(f"the padding mask of waveforms {tuple(wave_BS.shape)} is "
                         f"{tuple(padding_BS.shape)} of {padding_BS.dtype}, not bool of the same "
                         "shape")
    in_front = (padding_BS[:, :-1] & ~padding_BS[:, 1:]).any()
    if bool(in_front | padding_BS[:, :shortest].any()):
        raise InputError(f"padding (True) stands behind a clip of {shortest} samples or more; "
                         "elsewhere it is not understood")
