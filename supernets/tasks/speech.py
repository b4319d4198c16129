"""Classification of speech by a frozen encoder: what is said, or who says it.

Legend: B batch, S samples, K classes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import DataError
from nas.core.rng import derive_rng
from supernets.tasks import classification
from supernets.tasks.audio_batches import BATCH_SECONDS, PaddedWaves, clip_batches
from supernets.tasks.audio_clips import ClipSet
from supernets.tasks.audio_splits import hold_out, hold_out_share
from supernets.tasks.speech_encoders import SpeechEncoder
from supernets.tasks.speech_probe import accuracy, features_and_targets, fit_head, pooled_features
from supernets.tasks.waves import SAMPLE_RATE

CALIBRATION_SHARE = 0.1  # of the clips that heads are learnt from

MakeEncoder = Callable[[nn.Module], SpeechEncoder]


@dataclass(frozen=True, kw_only=True)
class SpeechClassification:
    """The `Task` of a folder of clips, for encoders without a head.

    The quality of an encoder is that of the head which is learnt on its frozen hidden states: see
    `speech_probe`. Each call of `metrics` learns one, from all of `training`.

    Attributes:
        labels: Names of the classes, in the order of the logits.
        by: Field of the clips that names their class.
        training: Clips that heads are learnt from.
        splits: Name → clips; any of `classification.SPLITS`. ``train_calib`` is part of `training`.
        encoder: How to get hidden states of a module: a family's, such as
            `supernets.hubert.encoders.hubert_encoder`.
        normalise: Whether encoders want clips of mean 0 and variance 1.
        batch_seconds: Of a batch, padding included.
        example_samples: Of the clips that costs are counted on.
        device: Where batches lie.

    Raises:
        DataError: An unknown split, or clips of a class that is not learnt.
    """

    labels: tuple[str, ...]
    by: str
    training: ClipSet = field(repr=False)
    splits: Mapping[str, ClipSet] = field(repr=False)
    encoder: MakeEncoder
    normalise: bool = True
    batch_seconds: float = BATCH_SECONDS
    example_samples: int = SAMPLE_RATE
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        classification.check_splits(self.splits)
        for clips in (self.training, *self.splits.values()):
            clips.targets(self.by, self.labels)

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns noise (batch, `example_samples`), distributed as normalised clips."""
        values = rng.standard_normal((batch, self.example_samples), dtype=np.float32)
        return torch.from_numpy(values).to(self.device)

    def batches(self, split: str) -> Iterator[tuple[PaddedWaves, Tensor]]:
        """Yields padded clips and classes_B int64 of a split, from short to long.

        Raises:
            DataError: The task has no such split, a clip is longer than a batch, or a file is no
                longer what it was.
        """
        if split not in self.splits:
            raise classification.no_split(split, self.splits)
        clips = self.splits[split]
        targets = clips.targets(self.by, self.labels)
        for batch, positions in clip_batches(clips, normalise=self.normalise,
                                             batch_seconds=self.batch_seconds):
            yield batch.to(self.device), torch.from_numpy(targets[positions]).to(self.device)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean cross-entropy of logits (B, K); encoders alone have none."""
        return classification.cross_entropy(outputs, targets)

    def metrics(self, model: nn.Module, batches: Iterable[tuple[PaddedWaves, Tensor]]
                ) -> Mapping[str, float]:
        """Returns ``{"error": clips classified wrongly in %}`` of an encoder in evaluation mode.

        Raises:
            DataError: There is no batch.
            InputError: A module that `encoder` does not know.
            EvaluationError: Hidden states that are not finite.
        """
        encode = self.encoder(model)
        learnt = pooled_features(encode, self.training, normalise=self.normalise,
                                 batch_seconds=self.batch_seconds, device=self.device)
        head = fit_head(learnt, self.training.targets(self.by, self.labels),
                        classes=len(self.labels))
        pooled, targets = features_and_targets(encode, batches)
        return {"error": 100.0 - accuracy(head, pooled, targets)}

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns how clips are prepared, as a JSON text; an encoder has no labels."""
        preprocessing = {"input": "wave", "layout": "BS", "sample_rate": SAMPLE_RATE,
                         "channels": 1, "normalise": self.normalise}
        return {"preprocessing": json.dumps(preprocessing)}


def keyword_task(clips: ClipSet, *, search: Sequence[str], test: Sequence[str], seed: int,
                 encoder: MakeEncoder, normalise: bool = True,
                 batch_seconds: float = BATCH_SECONDS, device: torch.device | None = None
                 ) -> SpeechClassification:
    """Returns the task of what is said, validated on speakers that no head has learnt from.

    Args:
        clips: With the fields ``label`` and ``speaker``.
        search: Speakers that are validated on while searching.
        test: Other speakers, for the final error.
        seed: Of what is drawn for calibration.
        encoder: See `SpeechClassification`.
        normalise: See `SpeechClassification`.
        batch_seconds: The same.
        device: Where batches lie; None: the CPU.

    Raises:
        DataError: An unknown speaker, one that is in both, or no other one to learn from.
    """
    both = sorted(set(search) & set(test))
    if both:
        raise DataError(f"speaker {both[0]!r} is in search and in test; hold each out once")
    rest, tested = hold_out(clips, test)
    training, searched = hold_out(rest, search)
    return _task(training, searched, tested, by="label", seed=seed, encoder=encoder,
                 normalise=normalise,
                 batch_seconds=batch_seconds, device=device)


def speaker_task(clips: ClipSet, *, seed: int, encoder: MakeEncoder,
                 share: float = 0.1, normalise: bool = True, batch_seconds: float = BATCH_SECONDS,
                 device: torch.device | None = None) -> SpeechClassification:
    """Returns the task of who speaks; search and test each get a share of every speaker's clips.

    Raises:
        DataError: Nothing says the speakers, or one has too few clips.
        InputError: A share that is not between 0 and 1.
    """
    rng = derive_rng(seed, "speaker split")
    rest, tested = hold_out_share(clips, share, rng, field="speaker")
    training, searched = hold_out_share(rest, share, rng, field="speaker")
    return _task(training, searched, tested, by="speaker", seed=seed, encoder=encoder,
                 normalise=normalise,
                 batch_seconds=batch_seconds, device=device)


def _task(training: ClipSet, search: ClipSet, test: ClipSet, *, by: str, seed: int,
          encoder: MakeEncoder, normalise: bool, batch_seconds: float,
          device: torch.device | None) -> SpeechClassification:
    _, calib = hold_out_share(training, CALIBRATION_SHARE, derive_rng(seed, "train_calib"),
                              field=by)
    return SpeechClassification(
        labels=training.classes(by), by=by, training=training, encoder=encoder, normalise=normalise,
        splits={"train_calib": calib, "search": search, "test": test},
        batch_seconds=batch_seconds, device=device or torch.device("cpu"))
