"""What a speech encoder is to a probe, and the one that every other must beat.

Legend: B batch, S samples, T frames, E width.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nas.core.errors import InputError


class SpeechEncoder(Protocol):
    """Hidden states of padded clips."""

    def __call__(self, wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Returns the states (B, T, E) of every layer, and which frames are real, (B, T) bool.

        Args:
            wave_BS: Clips of 16 kHz.
            padding_mask_BS: bool, True behind the end of a clip.
        """


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

    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        frames_BTW = wave_BS.unfold(1, window, step) * torch.hann_window(window).to(wave_BS)
        power_BTF = torch.fft.rfft(frames_BTW, size).abs().square()
        x_BTM = (power_BTF @ filters_FM.to(wave_BS) + 1e-6).log()
        frames_B = ((~padding_mask_BS).sum(1) - window) // step + 1
        keep_BT = torch.arange(x_BTM.shape[1], device=frames_B.device) < frames_B[:, None]
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
