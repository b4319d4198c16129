"""Frozen encoders that a HuBERT learns from.

Legend: B batch, S samples, T frames, D width of the teacher.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.tasks.waves import SAMPLE_RATE, normalised
from supernets.training.features import Taps


class Teacher(Protocol):
    """An encoder whose features of several layers are learnt."""

    @property
    def samples_per_frame(self) -> int:
        """Samples from one frame to the next."""

    @property
    def dim(self) -> int:
        """Width of the features."""

    def __call__(self, wave_BS: Tensor, padding_BS: Tensor | None = None) -> Sequence[Tensor]:
        """Returns each layer's features (B, T, D), without gradients, on the teacher's device.

        Args:
            wave_BS: Clips of 16 kHz as they were recorded: the teacher prepares them.
            padding_BS: True behind the end of a clip; frames of padding hold anything.

        Raises:
            InputError: Clips that the teacher cannot take.
        """

    def identity(self) -> str:
        """Returns what decides its features: settings, and a digest of the weights."""


class HubertTeacher:
    """The FFN outputs of a HuBERT's last layers, before residual sum and norm.

    So targets are made in data2vec (Baevski et al., arXiv 2202.03555, section 3.3) and, after it,
    LightHuBERT (arXiv 2203.15610, section 3.2), whose authors take 8 layers.

    Args:
        model: A transformers HubertModel or a `PlainHubert`, in evaluation mode; not changed.
        last: Layers that are learnt.
        normalise: Whether it takes clips of mean 0 and variance 1 (`do_normalize` of its feature
            extractor).

    Raises:
        InputError: A model in training mode, or one with fewer layers.
    """

    def __init__(self, model: nn.Module, *, last: int = 8, normalise: bool = True) -> None:
        self._model: Any = model
        self._taps = last_layers("encoder.layers", model, last, part=".feed_forward")
        self._last, self._normalise = last, normalise

    @property
    def samples_per_frame(self) -> int:
        """Samples from one frame to the next."""
        model = self._model
        return math.prod(model.elastic.strides if hasattr(model, "elastic")
                         else model.config.conv_stride)

    @property
    def dim(self) -> int:
        """Width of the features."""
        model = self._model
        return int(model.subnet.embed if hasattr(model, "subnet") else model.config.hidden_size)

    def __call__(self, wave_BS: Tensor, padding_BS: Tensor | None = None) -> list[Tensor]:
        """Returns each layer's features (B, T, D); see `Teacher`.

        Raises:
            InputError: Padding, for a model with group norm in front: there it changes every frame.
        """
        if padding_BS is not None and self._has_group_norm:
            raise InputError("this teacher has group norm over time in front, so that padding "
                             "changes its features; give it clips one by one")
        lengths = clip_lengths(wave_BS, padding_BS)
        device = next(self._model.parameters()).device
        prepared_BS = torch.zeros_like(wave_BS)
        for row, samples in enumerate(lengths):
            clip = wave_BS[row, :samples].cpu().numpy()
            prepared_BS[row, :samples] = torch.from_numpy(normalised(clip) if self._normalise
                                                          else clip)
        keep_BS = None if padding_BS is None else (~padding_BS).long().to(device)
        return tapped(self._model, self._taps,
                      lambda: self._model(prepared_BS.to(device), attention_mask=keep_BS))

    def identity(self) -> str:
        """Returns its settings and a digest of its weights."""
        return (f"hubert last={self._last} normalise={self._normalise} "
                f"weights={self._digest}")

    @property
    def _has_group_norm(self) -> bool:
        return getattr(getattr(self._model, "config", None), "feat_extract_norm", "") == "group"

    @cached_property
    def _digest(self) -> str:
        return weights_digest(self._model)


def check_rates(config: ElasticHubertConfig, teacher: Teacher) -> None:
    """Refuses a teacher whose frames are not those of the network that learns.

    Raises:
        InputError: Another frame rate.
    """
    own = math.prod(config.strides)
    if teacher.samples_per_frame != own:
        raise InputError(f"the teacher has {SAMPLE_RATE / teacher.samples_per_frame:g} frames a "
                         f"second, {config.name} has {SAMPLE_RATE / own:g}; give a teacher of the "
                         "same rate")


def last_layers(prefix: str, model: nn.Module, last: int, *, part: str = "") -> tuple[str, ...]:
    """Returns the names of the last layers of a module list, or of a part of each.

    Raises:
        InputError: A model in training mode, or one with fewer layers.
    """
    if model.training:
        raise InputError("the teacher is in training mode; give it after .eval()")
    layers = model.get_submodule(prefix)
    assert isinstance(layers, nn.ModuleList)
    if not 1 <= last <= len(layers):
        raise InputError(f"the teacher has {len(layers)} layers, of which the last {last} are "
                         f"asked for; ask for 1 to {len(layers)}")
    return tuple(f"{prefix}.{index}{part}" for index in range(len(layers) - last, len(layers)))


def tapped(model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> list[Tensor]:
    """Returns the outputs of named submodules during a run, without gradients."""
    taps = Taps(model, names)
    try:
        with torch.no_grad():
            run()
        maps: Sequence[Any] = taps.maps()
        # Layers of older transformers give tuples.
        return [found[0] if isinstance(found, tuple) else found for found in maps]
    finally:
        taps.close()


def clip_lengths(wave_BS: Tensor, padding_BS: Tensor | None) -> list[int]:
    """Returns the samples of each clip without its padding."""
    if padding_BS is None:
        return [wave_BS.shape[1]] * len(wave_BS)
    lengths: list[int] = (~padding_BS).sum(1).tolist()
    return lengths


def weights_digest(module: nn.Module) -> str:
    """Returns 16 hex digits that stand for a module's weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
