"""What a network has learnt of a teacher: how far its features are from the teacher's.

Legend: N windows, B batch, S samples, T frames, D features of the teacher, E width of the network.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Batch, Quality, Signature
from supernets.tasks import classification
from supernets.tasks.waves import EPSILON, SAMPLE_RATE, clip_samples, normalised

FULL_SCALE = 32768.0  # of int16


@dataclass(frozen=True, eq=False, slots=True)
class TaughtWindows:
    """Windows of speech, all equally long, and what the teacher makes of each by itself.

    Attributes:
        waves_NS: int16, of 16 kHz.
        targets_NTD: float16.

    Raises:
        DataError: Arrays of other shapes or types, or counts that differ.
    """

    waves_NS: NDArray[np.int16]
    targets_NTD: NDArray[np.float16]

    def __post_init__(self) -> None:
        waves, targets = self.waves_NS, self.targets_NTD
        shapes = waves.ndim == 2 and targets.ndim == 3 and len(waves) == len(targets)
        if not shapes or waves.dtype.name != "int16" or targets.dtype.name != "float16":
            raise DataError(f"windows {waves.shape} of {waves.dtype} and targets {targets.shape} "
                            f"of {targets.dtype} are not (N, S) of int16 and (N, T, D) of float16")

    def __len__(self) -> int:
        return len(self.waves_NS)


@dataclass(frozen=True, kw_only=True)
class FeatureDistillation:
    """The `Task` of giving a teacher's features.

    The network gives hidden states (B, T, E); `head_DE`, which was learnt with it, makes the
    teacher's features of them. One that is narrower than the head uses its first columns.

    Attributes:
        head_DE: Of the supernet that the networks come from.
        splits: Name → windows; any of `classification.SPLITS`.
        batch_size: Of `batches`.
        device: Where batches lie.
        shortest: Samples of the shortest clip that the networks take.
        example_samples: Of `example_inputs`, which costs are counted on; None: those of a window.

    Raises:
        DataError: An unknown split, none, or targets of another width than the head's.
    """

    head_DE: Tensor = field(repr=False)
    splits: Mapping[str, TaughtWindows] = field(repr=False)
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shortest: int = 1
    example_samples: int | None = None

    quality = Quality("distance from the teacher's features, in % of that of a network that has "
                      "learnt nothing", inputs="windows")

    def __post_init__(self) -> None:
        classification.check_splits(self.splits)
        if not self.splits:
            raise DataError("a distillation needs windows of speech; it got none")
        for windows in self.splits.values():
            if windows.targets_NTD.shape[2] != len(self.head_DE):
                raise DataError(f"targets have {windows.targets_NTD.shape[2]} features, the "
                                f"prediction head {len(self.head_DE)}")

    @property
    def samples(self) -> int:
        """Of a window."""
        return int(next(iter(self.splits.values())).waves_NS.shape[1])

    @property
    def signature(self) -> Signature:
        """Of an exported encoder: clips of a batch are equally long, and of any length."""
        return Signature(input="wave", output="last_hidden_state", axes=("batch", "samples"),
                         shortest=self.shortest)

    @property
    def clip_seconds(self) -> float:
        """Length of the clips that costs are counted on."""
        return (self.example_samples or self.samples) / SAMPLE_RATE

    def with_clips(self, seconds: float) -> "FeatureDistillation":
        """Returns the task with costs counted on clips of another length; it validates as before.

        Raises:
            InputError: No length, one below the shortest clip, or one beyond `LONGEST_S`.
        """
        samples = clip_samples(seconds)
        if samples < self.shortest:
            raise InputError(f"--seconds {seconds:g}: the shortest clip is "
                             f"{self.shortest / SAMPLE_RATE:g} s ({self.shortest} samples)")
        return replace(self, example_samples=samples)

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns noise (batch, samples), distributed as normalised windows."""
        values = rng.standard_normal((batch, self.example_samples or self.samples),
                                     dtype=np.float32)
        return torch.from_numpy(values).to(self.device)

    def batches(self, split: str) -> Iterator[Batch]:
        """Yields (wave_BS, features_BTD) of a split, float32, in stored order.

        Raises:
            DataError: The task has no such split.
        """
        if split not in self.splits:
            raise classification.no_split(split, self.splits)
        windows = self.splits[split]
        for start in range(0, len(windows), self.batch_size):
            rows = slice(start, start + self.batch_size)
            waves = [normalised(row.astype(np.float32) / FULL_SCALE)
                     for row in windows.waves_NS[rows]]
            yield (torch.from_numpy(np.stack(waves)).to(self.device),
                   torch.from_numpy(windows.targets_NTD[rows]).float().to(self.device))

    def predicted(self, states_BTE: Tensor) -> Tensor:
        """Returns what hidden states say of the teacher's features, (B, T, D)."""
        head_DE = self.head_DE[:, :states_BTE.shape[-1]].to(states_BTE)
        return F.linear(states_BTE, head_DE)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean absolute difference from the teacher's features, given hidden states."""
        return F.l1_loss(self.predicted(outputs), targets)

    def metrics(self, model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns ``{"error": …}``, the distillation loss as a share of the loss of zeros, in %.

        Targets have mean 0: what has learnt nothing gets 100.

        Raises:
            DataError: There is no batch.
            EvaluationError: Hidden states that are not finite.
        """
        difference = scale = 0.0
        with torch.inference_mode():
            for wave_BS, wanted_BTD in batches:
                states_BTE = model(wave_BS)
                if not bool(torch.isfinite(states_BTE).all()):
                    raise EvaluationError("the network's hidden states are not finite")
                difference += float((self.predicted(states_BTE) - wanted_BTD).abs().sum())
                scale += float(wanted_BTD.abs().sum())
        if scale == 0.0:
            raise DataError("validation got no batches")
        return {"error": 100.0 * difference / scale}

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns how a clip is prepared, as a JSON text."""
        return {"preprocessing": json.dumps({**PREPROCESSING, "min_samples": self.shortest})}


# Of a clip, which may have any length: less its mean, through the root of its variance plus
# epsilon, as `normalised` does. There is no mask for padding, which the network would hear.
PREPROCESSING = {"input": "wave", "layout": "BS", "sample_rate": SAMPLE_RATE, "channels": 1,
                 "normalise": True, "epsilon": EPSILON,
                 "padding": "none: clips of one batch are equally long, others run one by one"}
