"""Encoders of speech by one interface, whatever module they are.

Legend: B batch, S samples, T frames, E width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.frontend import kept_frames
from supernets.hubert.plain import PlainHubert
from supernets.hubert.presets import BASE
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.whisper import WhisperTeacher


class SpeechEncoder(Protocol):
    """Hidden states of padded clips."""

    def __call__(self, wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Returns the states (B, T, E) of every layer, and which frames are real, (B, T) bool.

        Args:
            wave_BS: Clips of 16 kHz.
            padding_mask_BS: bool, True behind the end of a clip.
        """


def hubert_encoder(module: nn.Module) -> SpeechEncoder:
    """Returns that of an extracted encoder, a `PlainHubert` or a transformers HubertModel.

    Its states are the first layer's input and each layer's output.

    Raises:
        InputError: Another module.
    """
    config = _frontend(module)

    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        found = module(wave_BS, attention_mask=(~padding_mask_BS).long(), output_hidden_states=True)
        states = found.hidden_states
        return states, kept_frames(config, (~padding_mask_BS).sum(1), states[0].shape[1])

    return encode


def supernet_encoder(net: HubertSupernet, arch: Arch) -> SpeechEncoder:
    """Returns that of one architecture of a supernet, which need not be extracted."""
    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        states = net(wave_BS, arch, padding_mask_BS, hidden_states=True).hidden_states
        return states, kept_frames(net.config, (~padding_mask_BS).sum(1), states[0].shape[1])

    return encode


def whisper_encoder(teacher: WhisperTeacher) -> SpeechEncoder:
    """Returns that of Whisper's encoder; its states are the layers that the teacher gives.

    It wants clips as they were recorded, not normalised.
    """
    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        states = teacher(wave_BS, padding_mask_BS)
        frames_B = (~padding_mask_BS).sum(1) // teacher.samples_per_frame
        return states, torch.arange(states[0].shape[1], device=frames_B.device) < frames_B[:, None]

    return encode


def log_mel_encoder(*, bands: int = 40) -> SpeechEncoder:
    """Returns what every encoder must beat: mel statistics, with nothing learnt.

    A frame is 25 ms, one every 20 ms. Its one state has each band's log energy and, the same in
    every frame, that energy's standard deviation over the clip: a mean over frames gives both.

    Raises:
        InputError: No bands.
    """
    if bands < 1:
        raise InputError(f"{bands} mel bands; 1 is the least")
    window, step, size = 400, 320, 512
    filters_FM = _mel_filters(bands, size)
    shape = replace(BASE, kernels=(window,), strides=(step,))

    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        frames_BTW = wave_BS.unfold(1, window, step) * torch.hann_window(window).to(wave_BS)
        power_BTF = torch.fft.rfft(frames_BTW, size).abs().square()
        x_BTM = (power_BTF @ filters_FM.to(wave_BS) + 1e-6).log()
        keep_BT = kept_frames(shape, (~padding_mask_BS).sum(1), x_BTM.shape[1])
        keep_BT1 = keep_BT[..., None]
        mean_B1M = (x_BTM * keep_BT1).sum(1, keepdim=True) / keep_BT1.sum(1, keepdim=True)
        square_BTM = (x_BTM - mean_B1M).square() * keep_BT1
        spread_B1M = (square_BTM.sum(1, keepdim=True) / keep_BT1.sum(1, keepdim=True)).sqrt()
        return (torch.cat([x_BTM, spread_B1M.expand_as(x_BTM)], -1),), keep_BT

    return encode


def _mel_filters(bands: int, size: int) -> Tensor:
    # Triangles that overlap by half, (bins, bands), on O'Shaughnessy's mel scale.
    top = 2595.0 * torch.log10(torch.tensor(1.0 + 8000.0 / 700.0))
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, float(top), bands + 2) / 2595.0) - 1.0)
    bins_F1 = torch.linspace(0.0, 8000.0, size // 2 + 1)[:, None]
    rising = (bins_F1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_F1) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).relu()


def _frontend(module: nn.Module) -> ElasticHubertConfig:
    if isinstance(module, PlainHubert):
        return module.elastic
    settings: Any = getattr(module, "config", None)
    if not hasattr(settings, "conv_kernel") or not hasattr(settings, "conv_stride"):
        raise InputError(f"a {type(module).__name__} is no HuBERT that was extracted from a "
                         "supernet; give one, or a function of its hidden states")
    return replace(BASE, kernels=tuple(settings.conv_kernel), strides=tuple(settings.conv_stride))
