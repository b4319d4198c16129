"""Trains `hubert-tiny` in two stages on spoken prompts, with Whisper's encoder as the teacher.

The prompts are those of asterisk-core-sounds-en-g722 (Debian; CC-BY 3.0), decoded and cut into
pieces of 15 s at most; or, with `--data`, any folder of 16 kHz audio files. Targets, checkpoints
and the log of losses are kept in the work folder: a stopped run goes on there, and `--minutes`
stops one. At the end the weights are in ``hubert-tiny.safetensors``, in half precision.

    python tests/benchmarks/train_hubert_digits.py --teacher WHISPER.safetensors --work DIR
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.hubert.batches import SpeechBatches
from supernets.hubert.presets import TINY
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.targets import TargetCache
from supernets.hubert.teacher import check_rates
from supernets.hubert.training import StagedTraining
from supernets.hubert.whisper import open_whisper
from supernets.tasks.audio_clips import open_clips
from supernets.tasks.waves import SAMPLE_RATE, Wave
from supernets.training.trainer import Progress, TrainConfig

PROMPTS = Path("/usr/share/asterisk/sounds/en")
LONGEST, SHORTEST = 15 * SAMPLE_RATE, SAMPLE_RATE // 4  # of a piece, in samples
BATCH_SECONDS = 30.0
SEED = 0


class OutOfTimeError(Exception):
    """The minutes have passed."""


@dataclass
class Log:
    """Says now and then where the training stands, and ends it when its time is over."""

    file: Path
    minutes: float
    started: float = field(default_factory=time.monotonic)
    losses: list[float] = field(default_factory=list)

    def step(self, stage: int, progress: Progress) -> None:
        """Takes the loss of one step."""
        self.losses.append(progress.loss)
        if progress.step % 20 == 0 or progress.step == progress.total_steps:
            line = {"stage": stage, "step": progress.step, "of": progress.total_steps,
                    "loss": round(float(np.mean(self.losses)), 4),
                    "learning_rate": progress.learning_rate,
                    "s": round(time.monotonic() - self.started, 1)}
            self.losses.clear()
            with self.file.open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(line, flush=True)
        self.check()

    def clip(self, done: int, total: int) -> None:
        """Notes a clip that the teacher has heard."""
        if done % 100 == 0 or done == total:
            print(f"targets of {done} of {total} clips", flush=True)
        self.check()

    def check(self) -> None:
        """Raises where the time is over."""
        if time.monotonic() - self.started > 60 * self.minutes:
            raise OutOfTimeError


def prompts(folder: Path) -> list[Wave]:
    """Returns the prompts of a folder in pieces; empty files have none."""
    import G722

    pieces: list[Wave] = []
    for file in sorted(folder.rglob("*.g722")):
        data = file.read_bytes()
        if data:
            samples = np.asarray(G722.G722(SAMPLE_RATE, 64_000).decode(data), dtype=np.int16)
            pieces += cut(samples.astype(np.float32) / 32768)
    return pieces


def cut(wave_S: Wave) -> list[Wave]:
    """Returns equal pieces that are not too long, none if it is too short or silent."""
    if len(wave_S) < SHORTEST or np.ptp(wave_S) < 1e-3:
        return []
    return list(np.array_split(wave_S, -(-len(wave_S) // LONGEST)))


def configs(epochs: Sequence[int]) -> list[TrainConfig]:
    """Returns the recipes of both stages."""
    return [TrainConfig(epochs=count, learning_rate=1e-3, optimizer="adamw", weight_decay=0.01,
                        warmup_epochs=max(1.0, 0.03 * count), clip_norm=1.0, checkpoint_s=60.0,
                        seed=SEED + stage) for stage, count in enumerate(epochs)]


def main() -> None:
    """Trains until the end or until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of audio files in place of the prompts")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--epochs", type=int, nargs=2, default=(40, 120), metavar=("1ST", "2ND"))
    parser.add_argument("--layers", type=int, default=2, help="last ones of the teacher")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    log = Log(options.work / "log.jsonl", options.minutes)
    waves = ([piece for wave in open_clips(options.data)[0] for piece in cut(wave)]
             if options.data else prompts(options.prompts))
    print(f"{len(waves)} clips, {sum(map(len, waves)) / SAMPLE_RATE / 60:.1f} minutes")
    teacher = open_whisper(options.teacher, last=options.layers)
    check_rates(TINY, teacher)
    torch.manual_seed(SEED)
    net = HubertSupernet(TINY, target_dim=teacher.dim)
    cache = TargetCache(options.work / "targets", teacher, instance_norm=True)
    first, second = configs(options.epochs)
    try:
        with one_thread():
            data = SpeechBatches(config=TINY, waves=waves, targets=cache.prepare(waves, log.clip),
                                 batch_seconds=BATCH_SECONDS, seed=SEED)
            StagedTraining(supernet=net, data=data, folder=options.work, first=first,
                           second=second, on_step=log.step).run()
    except OutOfTimeError:
        print("time is over; run it again to go on")
        return
    save_file({name: tensor.half() for name, tensor in net.state_dict().items()},
              options.work / "hubert-tiny.safetensors")


if __name__ == "__main__":
    main()
