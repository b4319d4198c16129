"""A trained HuBERT supernet as a folder that needs nothing else.

``supernet.json``, ``weights.safetensors`` (in half precision, with the prediction head) and
``speech.npz``: windows of speech and the teacher's features of them, for each split.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save

from nas.core.errors import DataError, InputError, SpaceError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.card import AGAIN, CARD, WEIGHTS, Card, read_file, validated, write_folder
from supernets.hubert.blocks import planned
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.stored_arrays import read_splits, splits_file
from supernets.stored_weights import with_weights
from supernets.tasks.classification import SPLITS
from supernets.tasks.distillation import FeatureDistillation, TaughtWindows
from supernets.tasks.waves import SAMPLE_RATE

SPEECH = "speech.npz"
_ARRAYS = ("waves", "targets")  # of each split


class _TaskCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["feature_distillation"]
    features: int = Field(ge=1)
    samples: int = Field(ge=1)


def save_supernet(folder: Path, net: HubertSupernet, splits: Mapping[str, TaughtWindows],
                  provenance: Mapping[str, Any]) -> None:
    """Writes a trained supernet with windows to validate on into an existing folder.

    Args:
        folder: Where to.
        net: With a prediction head.
        splits: Name → windows, all equally long.
        provenance: Where it comes from: JSON values.

    Raises:
        InputError: A supernet without a prediction head.
        DataError: Windows of another width than the head's.
        OSError: A file cannot be written.
    """
    if net.prediction_head is None:
        raise InputError("only a supernet with a prediction head can be searched; make it with "
                         "target_dim")
    task = FeatureDistillation(head_DE=net.prediction_head.weight, splits=splits)
    tensors = {name: tensor.detach().half().cpu().contiguous()
               for name, tensor in net.state_dict().items()}
    speech = splits_file({split: dict(zip(_ARRAYS, (windows.waves_NS, windows.targets_NTD),
                                          strict=True)) for split, windows in splits.items()})
    write_folder(folder, family="hubert", config=asdict(net.config),
                 task={"kind": "feature_distillation", "features": len(task.head_DE),
                       "samples": task.samples},
                 files={WEIGHTS: save(tensors), SPEECH: speech}, provenance=provenance)


def load(folder: Path, card: Card, *, device: torch.device) -> WaveSupernet:
    """Returns the supernet of a folder in evaluation mode.

    Raises:
        DataError: A file of the folder is missing or damaged.
    """
    config, described = _read(folder, card)
    weights, speech = (read_file(folder, name, card) for name in (WEIGHTS, SPEECH))
    net = with_weights(lambda: HubertSupernet(config, target_dim=described.features), weights,
                       folder=folder, device=device)
    assert net.prediction_head is not None  # it was asked for
    net.task = _load_task(folder, speech, net.prediction_head.weight.detach(), described, device,
                          shortest=config.receptive_field)
    return WaveSupernet(net).eval()


def plan(folder: Path, card: Card, *, resolution: int | None,
         seconds: float | None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a folder's supernet, for clips of any length.

    Raises:
        DataError: The card is damaged.
        InputError: A resolution, which speech has not, or clips that give no frame.
    """
    config, described = _read(folder, card)
    return planned(config, resolution=resolution,
                   seconds=described.samples / SAMPLE_RATE if seconds is None else seconds)


def _read(folder: Path, card: Card) -> tuple[ElasticHubertConfig, _TaskCard]:
    described = validated(_TaskCard, card.task, where=folder / CARD, part="task")
    try:
        config = ElasticHubertConfig.from_dict(card.config)
    except SpaceError as error:
        raise DataError(f"{folder / CARD}: {error}; {AGAIN}") from None
    if config.frames(described.samples) < 1:
        raise DataError(f"{folder / CARD}: windows of {described.samples} samples are shorter "
                        f"than the receptive field; {AGAIN}")
    return config, described


def _load_task(folder: Path, speech: bytes, head_DE: torch.Tensor, described: _TaskCard,
               device: torch.device, *, shortest: int) -> FeatureDistillation:
    found = read_splits(speech, SPLITS, _ARRAYS, path=folder / SPEECH)
    splits = {split: TaughtWindows(*arrays) for split, arrays in found.items()}
    if any(windows.waves_NS.shape[1] != described.samples for windows in splits.values()):
        raise DataError(f"{folder / SPEECH} has windows of other lengths than {CARD} says; {AGAIN}")
    return FeatureDistillation(head_DE=head_DE, splits=splits, device=device, shortest=shortest)
