"""Speech encoders of a supernet whose quality is that of a probe on labelled clips.

Legend: N clips, S samples.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.protocols import Batch, Quality, Signature
from supernets.tasks.distillation import FeatureDistillation
from supernets.tasks.speech import SpeechClassification
from supernets.tasks.waves import normalised

EXPORTED = 256  # test clips, at most, that an exported file is compared on
FEWEST = 16  # as few as there may be


@dataclass(frozen=True, kw_only=True)
class ProbedSpeech:
    """The `Task` of encoders that are searched for what a head learns from them.

    What a network is initialised, scored by proxies and quantised with are the windows that its
    supernet was distilled on; what it is validated and tested on are clips: see
    `SpeechClassification`.

    Attributes:
        windows: Gives ``train_calib``, the loss, and the inputs that costs are counted on.
        clips: Gives ``search`` and ``test``, and the quality.
        held_out: Which clips these are, in a few words.
    """

    windows: FeatureDistillation
    clips: SpeechClassification
    held_out: str

    @property
    def signature(self) -> Signature:
        """Of an exported encoder."""
        return self.windows.signature

    @property
    def clip_seconds(self) -> float:
        """Length of the clips that costs are counted on."""
        return self.windows.clip_seconds

    def with_clips(self, seconds: float) -> "ProbedSpeech":
        """Returns the task with costs counted on clips of another length; see its windows'."""
        return replace(self, windows=self.windows.with_clips(seconds))

    @property
    def quality(self) -> Quality:
        """What ``error`` is."""
        return Quality(
            f"clips whose {self.clips.by} a linear head on the frozen encoder gets wrong, in %; "
            f"{self.held_out}", inputs="clips")

    @property
    def identity(self) -> str:
        """Digest of what clips are learnt from, searched on and tested on, and as what."""
        parts = (self.clips.training, self.clips.splits["search"], self.clips.splits["test"])
        text = " ".join([self.clips.by, *(part.fingerprint() for part in parts)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns noise (batch, samples of a window)."""
        return self.windows.example_inputs(batch, rng)

    def batches(self, split: str) -> Iterator[tuple[Any, Tensor]]:
        """Yields windows with the teacher's features of ``train_calib``, else padded clips.

        Raises:
            DataError: No such split, or a file is no longer what it was.
        """
        return self.windows.batches(split) if split == "train_calib" else self.clips.batches(split)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the distillation loss of hidden states (B, T, E)."""
        return self.windows.loss(outputs, targets)

    def metrics(self, model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns ``{"error": …}``: see `SpeechClassification.metrics`, which raises the same."""
        return self.clips.metrics(model, batches)

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns how a clip is prepared, as a JSON text."""
        return self.windows.onnx_metadata()

    def export_inputs(self) -> Tensor:
        """Returns beginnings of test clips (N, S) of one length, normalised, on the CPU.

        They are those of the longer half of the clips, from `FEWEST` to `EXPORTED` of them, as
        long as the shortest of these.
        """
        clips = self.clips.splits["test"]
        order = np.argsort(-clips.samples, kind="stable")
        longest = np.sort(order[:min(EXPORTED, max(FEWEST, len(order) // 2))])
        samples = int(clips.samples[longest].min())
        return torch.from_numpy(np.stack([normalised(clips[int(place)][:samples])
                                          for place in longest]))
