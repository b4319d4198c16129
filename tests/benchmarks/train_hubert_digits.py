"""Trains the shipped `hubert-digits`, with Whisper's encoder as the teacher; resumable.

Needs the prompts of Debian's asterisk-core-sounds-it-g722 and -ru-g722 and PyPI's G722. A share of
them is held out: their windows are what the supernet validates on. Targets, checkpoints and the log
of losses are kept in the work folder: a stopped run goes on there, and `--minutes` stops one.
Beside the supernet's folder it writes docs/benchmarks/hubert_training.json.

    python tests/benchmarks/train_hubert_digits.py --teacher WHISPER.safetensors --work DIR \
        --out supernets/shipped/hubert_digits
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _prompts import LANGUAGES, PROMPTS, held_out, prompts, varied
from _report import write_report

from nas.core.files import sha256
from nas.core.rng import derive_rng
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.hubert.batches import SpeechBatches
from supernets.hubert.presets import TINY
from supernets.hubert.stored import save_supernet
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.targets import TargetCache
from supernets.hubert.teacher import check_rates
from supernets.hubert.training import StagedTraining
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.hubert.whisper import open_whisper
from supernets.hubert.windows import taught_windows
from supernets.tasks.distillation import FeatureDistillation, TaughtWindows
from supernets.tasks.waves import SAMPLE_RATE, Wave
from supernets.training.trainer import Progress, TrainConfig

BATCH_SECONDS = 13.0
CONTEXT_S = 6  # of the teacher, as long as the longest clip
HELD_OUT = 0.08  # of each language's prompts
WINDOWS = {"train_calib": 32, "search": 48, "test": 24}  # of one second
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
        if progress.step % 100 == 0 or progress.step == progress.total_steps:
            line = {"stage": stage, "step": progress.step, "of": progress.total_steps,
                    "loss": round(float(np.mean(self.losses)), 4),
                    "learning_rate": progress.learning_rate,
                    "s": round(time.monotonic() - self.started, 1)}
            self.losses.clear()
            self.write(line)
        self.check()

    def write(self, line: dict[str, Any]) -> None:
        """Adds a line to the log."""
        with self.file.open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(line, flush=True)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Returns the lines that have a value of a name, the last of each stage and place."""
        found = {}
        for line in map(json.loads, self.file.read_text().splitlines()):
            if name in line:
                found[line["stage"], line.get("epoch", line.get("step", 0))] = line
        return [found[place] for place in sorted(found)]

    def clip(self, done: int, total: int) -> None:
        """Notes a clip that the teacher has heard."""
        if done % 500 == 0 or done == total:
            print(f"targets of {done} of {total} clips", flush=True)
        self.check()

    def check(self) -> None:
        """Raises where the time is over."""
        if time.monotonic() - self.started > 60 * self.minutes:
            raise OutOfTimeError


@dataclass(kw_only=True)
class Speech:
    """What is learnt from and validated on.

    Attributes:
        clips: To learn from, made of prompts.
        others: Prompts that are held out.
        prompts_minutes: Of the prompts that clips are made of.
    """

    clips: list[Wave] = field(default_factory=list)
    others: list[Wave] = field(default_factory=list)
    prompts_minutes: float = 0.0


def speech(folder: Path) -> Speech:
    """Returns the clips to learn from, and the prompts that are held out."""
    found = Speech()
    for number, language in enumerate(LANGUAGES):
        learnt, kept = held_out(prompts(folder, language), HELD_OUT,
                                derive_rng(SEED, "held out", index=number))
        found.clips += varied(learnt, seed=SEED + number)
        found.others += kept
        found.prompts_minutes += minutes(learnt)
    return found


def minutes(waves: Sequence[Wave]) -> float:
    """Returns how long clips last together."""
    return sum(map(len, waves)) / SAMPLE_RATE / 60


def windows(waves: Sequence[Wave], cache: TargetCache) -> dict[str, TaughtWindows]:
    """Returns the windows of each split, of prompts in random order."""
    rng = derive_rng(SEED, "windows")
    samples = np.concatenate([waves[place] for place in rng.permutation(len(waves))])
    ends = np.cumsum(list(WINDOWS.values())) * SAMPLE_RATE
    clips = {split: [part] for split, part in zip(WINDOWS, np.split(samples, ends), strict=False)}
    return taught_windows(clips, config=TINY, targets=cache, counts=WINDOWS, samples=SAMPLE_RATE)


def sizes(net: HubertSupernet, splits: Mapping[str, TaughtWindows]) -> dict[str, float]:
    """Returns the error of the smallest, a middle and the largest network on the search windows."""
    assert net.prediction_head is not None
    task = FeatureDistillation(head_DE=net.prediction_head.weight.detach(), splits=splits)
    space = net.space
    smallest, largest = (space.extreme(largest=large) for large in (False, True))
    middle = space.encode([smallest, largest]).mean(0, keepdims=True).astype(np.int64)
    archs = {"smallest": smallest, "largest": largest,
             "middle": space.decode(space.canonical_codes(middle))[0]}
    return {name: round(task.metrics(WaveSupernet(net).extract(arch), task.batches("search"))
                        ["error"], 3) for name, arch in archs.items()}


def configs(epochs: Sequence[int]) -> list[TrainConfig]:
    """Returns the recipes of both stages; a norm behind each sum needs a slow start."""
    return [TrainConfig(epochs=count, learning_rate=rate, optimizer="adamw", weight_decay=0.01,
                        warmup_epochs=warmup, clip_norm=1.0, checkpoint_s=60.0, seed=SEED + stage)
            for stage, (count, rate, warmup) in enumerate(zip(epochs, (6e-4, 6e-4), (0.5, 0.1),
                                                              strict=True))]


def main() -> None:
    """Trains until the end or until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="supernet folder to write")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--epochs", type=int, nargs=2, default=(5, 7), metavar=("1ST", "2ND"))
    parser.add_argument("--layers", type=int, default=2, help="last ones of the teacher")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    options = parser.parse_args()
    keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    log = Log(options.work / "log.jsonl", options.minutes)
    heard = speech(options.prompts)
    clips = heard.clips
    print(f"{len(clips)} clips, {minutes(clips):.1f} minutes")
    teacher = open_whisper(options.teacher, last=options.layers, context_s=CONTEXT_S)
    check_rates(TINY, teacher)
    torch.manual_seed(SEED)
    net = HubertSupernet(TINY, target_dim=teacher.dim)
    cache = TargetCache(options.work / "targets", teacher, instance_norm=True)
    first, second = configs(options.epochs)
    try:
        with one_thread():
            splits = windows(heard.others, cache)

            def epoch(stage: int, number: int) -> None:
                log.write({"stage": stage, "epoch": number, "error": sizes(net, splits)})

            log.write({"stage": 0, "error": sizes(net, splits)})
            data = SpeechBatches(config=TINY, waves=clips, targets=cache.prepare(clips, log.clip),
                                 batch_seconds=BATCH_SECONDS, seed=SEED, learn="all")
            StagedTraining(supernet=net, data=data, folder=options.work, first=first,
                           second=second, on_step=log.step, on_epoch=epoch).run()
    except OutOfTimeError:
        print("time is over; run it again to go on")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    save_supernet(options.out, net, splits, {
        "trained_by": "tests/benchmarks/train_hubert_digits.py",
        "speech": f"prompts of asterisk-core-sounds, {' and '.join(LANGUAGES)}, CC-BY-3.0; "
                  f"{len(clips)} clips, {minutes(clips):.0f} minutes",
        "teacher": f"{options.teacher.name} (MIT), {sha256(options.teacher.read_bytes())[:12]}",
        "epochs": list(options.epochs), "seed": SEED,
        "versions": {name: version(name) for name in ("nas-service", "torch", "numpy")}})
    write_report("hubert_training", {
        "prompts_minutes": heard.prompts_minutes, "clips": len(clips),
        "minutes": minutes(clips), "epochs": list(options.epochs),
        "steps_per_epoch": data.steps_per_epoch, "batch_seconds": BATCH_SECONDS,
        "search_windows_error_percent": log.rows("error"), "loss": log.rows("loss")}, seed=SEED)


if __name__ == "__main__":
    main()
