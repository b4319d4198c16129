"""Whisper's encoder as a teacher. Legend: B batch, S samples, T frames, D width."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nas.core.errors import DataError, InputError
from supernets.hubert.extract import NEEDS_SPEECH
from supernets.hubert.teacher import clip_lengths, last_layers, tapped, weights_digest
from supernets.tasks.waves import SAMPLE_RATE

_SAMPLES_PER_FRAME = 320  # two mel frames of 160, by the second convolution's stride
_FRAMES_PER_S = SAMPLE_RATE // _SAMPLES_PER_FRAME
_SIZES = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
          "num_mel_bins")


class WhisperTeacher:
    """The outputs of the last layers of Whisper's encoder, before its final norm.

    Radford et al., arXiv 2212.04356, section 2.2. It was trained on clips padded to 30 s and runs
    on as many; a shorter context is faster and changes its features. A clip has a frame for each
    whole 20 ms.

    Args:
        encoder: A transformers WhisperEncoder, in evaluation mode; not changed.
        last: Layers that are learnt.

    Raises:
        InputError: transformers is not installed, an encoder in training mode, or one with fewer
            layers.
    """

    samples_per_frame = _SAMPLES_PER_FRAME

    def __init__(self, encoder: nn.Module, *, last: int = 2) -> None:
        try:
            from transformers import WhisperFeatureExtractor
        except ImportError:
            raise InputError(NEEDS_SPEECH) from None
        self._encoder = encoder
        self._config = cast(Any, encoder).config
        self._taps = last_layers("layers", encoder, last)
        self._last = last
        self._context_s = self._config.max_source_positions // _FRAMES_PER_S
        self._log_mel: Any = WhisperFeatureExtractor(
            feature_size=self._config.num_mel_bins, chunk_length=self._context_s)

    @property
    def dim(self) -> int:
        """Width of the features."""
        return int(self._config.d_model)

    def __call__(self, wave_BS: Tensor, padding_BS: Tensor | None = None) -> list[Tensor]:
        """Returns each layer's features (B, T, D); see `supernets.hubert.teacher.Teacher`.

        Raises:
            InputError: Clips longer than its context or shorter than a frame.
        """
        lengths = clip_lengths(wave_BS, padding_BS)
        if max(lengths) > self._context_s * SAMPLE_RATE:
            raise InputError(f"a clip lasts {max(lengths) / SAMPLE_RATE:.1f} s, and the teacher "
                             f"hears {self._context_s} s; cut it, or leave it out")
        if min(lengths) < self.samples_per_frame:
            raise InputError(f"a clip of {min(lengths)} samples is shorter than one frame of the "
                             f"teacher ({self.samples_per_frame}); leave it out")
        clips = [row[:samples].cpu().numpy() for row, samples in zip(wave_BS, lengths,
                                                                     strict=True)]
        mel_BFT = self._log_mel(clips, sampling_rate=SAMPLE_RATE,
                                return_tensors="pt").input_features
        parameter = next(self._encoder.parameters())
        found = tapped(self._encoder, self._taps,
                       lambda: self._encoder(mel_BFT.to(parameter.device, parameter.dtype)))
        return [layer[:, :max(lengths) // self.samples_per_frame] for layer in found]

    def identity(self) -> str:
        """Returns its settings and a digest of its weights."""
        return f"whisper last={self._last} context={self._context_s} weights={self._digest}"

    @cached_property
    def _digest(self) -> str:
        return weights_digest(self._encoder)


def open_whisper(path: Path, *, last: int = 2, context_s: int = 30,
                 device: str = "cpu") -> WhisperTeacher:
    """Returns the teacher of a file with the keys of transformers' WhisperEncoder.

    Args:
        path: A safetensors file whose metadata have the sizes as ``config``: ``"d_model=384 …"``.
        last: Layers that are learnt.
        context_s: Seconds that it runs on, at most those of the file.
        device: Of the encoder, which computes in single precision.

    Raises:
        DataError: The file is missing or damaged, or its sizes or keys are not the encoder's.
        InputError: transformers is not installed, or a context or layers that it has not.
    """
    try:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder
    except ImportError:
        raise InputError(NEEDS_SPEECH) from None
    sizes, state = _read(path)
    known = len(state["embed_positions.weight"])
    if not 1 <= context_s * _FRAMES_PER_S <= known:
        raise InputError(f"a context of {context_s} s is not within the teacher's "
                         f"1 … {known // _FRAMES_PER_S} s")
    state["embed_positions.weight"] = state["embed_positions.weight"][:context_s * _FRAMES_PER_S]
    try:
        with torch.random.fork_rng(devices=[]):  # it draws weights, which are replaced
            encoder = WhisperEncoder(WhisperConfig(
                **sizes, max_source_positions=context_s * _FRAMES_PER_S))
        encoder.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path} does not fit a WhisperEncoder of its sizes ({_line(error)})"
                        ) from None
    return WhisperTeacher(encoder.eval().to(device), last=last)


def _read(path: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            sizes = _sizes(path, file.metadata() or {})
            names = file.keys()
            state = {name: file.get_tensor(name).to(torch.float32) for name in names}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({_line(error)})") from None
    if "embed_positions.weight" not in state:
        raise DataError(f"{path} has no embed_positions.weight; it is no WhisperEncoder's file")
    return sizes, state


def _sizes(path: Path, metadata: Mapping[str, str]) -> dict[str, int]:
    pairs = dict(pair.partition("=")[::2] for pair in metadata.get("config", "").split())
    try:
        return {name: int(pairs[name]) for name in _SIZES}
    except (KeyError, ValueError):
        raise DataError(f"{path} does not say its sizes; its metadata must have config="
                        f"\"{' '.join(f'{name}=…' for name in _SIZES)}\"") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
