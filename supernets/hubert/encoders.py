"""Encoders of this family, and Whisper's, as what `supernets.tasks.speech_probe` probes.

Legend: B batch, S samples, T frames, E width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.frontend import kept_frames
from supernets.hubert.plain import PlainHubert
from supernets.hubert.presets import BASE
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.wave_supernet import WaveEncoder
from supernets.hubert.whisper import WhisperTeacher
from supernets.tasks.speech_encoders import SpeechEncoder


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


def wave_encoder(module: nn.Module) -> SpeechEncoder:
    """Returns that of what is searched and exported: a function of waveforms (B, S) alone.

    A `WaveEncoder` has the states of the encoder in it. Of anything else, such as an exported
    file, there is the one output (B, T, E); it knows no padding, and is asked for clip after clip.
    """
    if isinstance(module, WaveEncoder):
        return hubert_encoder(module.encoder)

    def encode(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        states = [module(wave_S[None, :int(samples)])[0] for wave_S, samples
                  in zip(wave_BS, (~padding_mask_BS).sum(1), strict=True)]
        frames_B = torch.tensor([len(state_TE) for state_TE in states], device=wave_BS.device)
        padded_BTE = nn.utils.rnn.pad_sequence(states, batch_first=True)
        return [padded_BTE], torch.arange(padded_BTE.shape[1],
                                          device=wave_BS.device) < frames_B[:, None]

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


def _frontend(module: nn.Module) -> ElasticHubertConfig:
    if isinstance(module, PlainHubert):
        return module.elastic
    settings: Any = getattr(module, "config", None)
    if not hasattr(settings, "conv_kernel") or not hasattr(settings, "conv_stride"):
        raise InputError(f"a {type(module).__name__} is no HuBERT that was extracted from a "
                         "supernet; give one, or a function of its hidden states")
    return replace(BASE, kernels=tuple(settings.conv_kernel), strides=tuple(settings.conv_stride))
