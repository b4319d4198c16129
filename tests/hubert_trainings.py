"""What tests of HuBERT's training share: tones as speech, a teacher that is a fixed filter bank."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supernets.hubert.batches import SpeechBatches
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.presets import TINY
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.targets import CachedTargets, TargetCache
from supernets.hubert.training import StagedTraining
from supernets.tasks.waves import SAMPLE_RATE, Wave
from supernets.training.trainer import TrainConfig

DIM = 6
FIRST = TrainConfig(epochs=4, learning_rate=0.01, optimizer="adamw", warmup_epochs=0.5,
                    clip_norm=1.0, seed=5)
SECOND = replace(FIRST, epochs=6, seed=6)


class FilterTeacher:
    """Loudness of a frame through each of some random filters; the second layer is its square.

    It counts the clips that it hears.

    Args:
        seed: Of the filters.
        hop: Samples from one frame to the next.
        fewer: Frames that it has fewer than the clip has whole hops.
    """

    def __init__(self, seed: int = 0, *, hop: int = 320, fewer: int = 0) -> None:
        self.heard = 0
        self._seed, self._hop, self._fewer = seed, hop, fewer
        self._filters = torch.randn(DIM, hop, generator=torch.Generator().manual_seed(seed))

    @property
    def samples_per_frame(self) -> int:
        return self._hop

    @property
    def dim(self) -> int:
        return DIM

    def __call__(self, wave_BS: Tensor, padding_BS: Tensor | None = None) -> list[Tensor]:
        assert padding_BS is None
        self.heard += len(wave_BS)
        frames = wave_BS.shape[1] // self._hop
        cut = wave_BS[:, :frames * self._hop].reshape(len(wave_BS), frames, self._hop)
        loud = (cut @ self._filters.T).abs().log1p()[:, :frames - self._fewer]
        return [loud, loud.square()]

    def identity(self) -> str:
        return f"filters {self._seed} {self._hop} {self._fewer}"


def tiny_config() -> ElasticHubertConfig:
    """Returns a `hubert-tiny` of its genes at an eighth of the width."""
    return replace(TINY, width=24, embeds=(12, 16, 24), head_dim=4, frontend_width=16,
                   position_kernel=16, position_groups=4)


def clips(count: int = 12, *, seed: int = 0) -> list[Wave]:
    """Returns clips of .4 to .9 s in which two tones take turns."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        samples = int(rng.integers(6_400, 14_400))
        time = np.arange(samples) / SAMPLE_RATE
        low, high = rng.uniform(100, 300), rng.uniform(800, 2000)
        tone = np.where(np.sin(2 * np.pi * 3 * time) > 0, np.sin(2 * np.pi * low * time),
                        0.3 * np.sin(2 * np.pi * high * time))
        found.append((0.5 * tone + 0.01 * rng.normal(size=samples)).astype(np.float32))
    return found


def cached(folder: Path, waves: list[Wave]) -> CachedTargets:
    return TargetCache(folder, FilterTeacher()).prepare(waves)


def batches(folder: Path, **changes: Any) -> SpeechBatches:
    waves = changes.pop("waves", None) or clips()
    targets = changes.pop("targets", None) or cached(folder / "targets", waves)
    return SpeechBatches(**{"config": tiny_config(), "waves": waves, "targets": targets,
                            "batch_seconds": 2.0, "seed": 3, **changes})


def student(*, seed: int = 0, target_dim: int | None = DIM) -> HubertSupernet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HubertSupernet(tiny_config(), target_dim=target_dim)


def training(folder: Path, **changes: Any) -> StagedTraining:
    return StagedTraining(**{"supernet": student(), "data": batches(folder), "first": FIRST,
                             "second": SECOND, "folder": folder, **changes})


def weights(training: StagedTraining) -> dict[str, Tensor]:
    training.run()
    return {name: tensor.clone() for name, tensor in training.supernet.state_dict().items()}


class StoppedError(Exception):
    """What a test stops a training with."""


def stopping(stage: int, step: int) -> Callable[[int, Any], None]:
    """Returns an `on_step` that stops a training after a step of a stage."""
    def on_step(at: int, progress: Any) -> None:
        if (at, progress.step) == (stage, step):
            raise StoppedError
    return on_step
