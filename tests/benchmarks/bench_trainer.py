"""What training a supernet costs: the trainer against a bare loop, and against its parts alone.

Three ways of the same few sandwich steps of the shipped space, on the same batches: batch 128, one
thread, channels last. They run in turns and the CPU time of each is compared with that of its
neighbours, so that a busy machine slows all alike.

- ``trainer``: `Trainer.run`, from its making to the checkpoint at its end.
- ``loop``: the same steps written out, without checks, checkpoints or choice of anything.
- ``parts``: what the steps are made of, each timed alone: the batches; a forward and a backward
  pass of each architecture, by its own loss; the updates.

    python tests/benchmarks/bench_trainer.py [--rounds 30]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _report import write_report
from torch import Tensor

from nas.core.arch import Arch
from nas.core.rng import derive_rng
from nas.pipeline.device import keep_freed_memory
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import Augmentation, TrainingData
from supernets.training.distill import soft_cross_entropy
from supernets.training.sampling import Sandwich
from supernets.training.trainer import TrainConfig, Trainer

SEED = 0
BATCH = 128
STEPS = 6  # of each turn
TARGETS = {"trainer_to_loop": 1.05, "trainer_to_parts": 1.10}  # of the median of paired ratios
CONFIG = TrainConfig(epochs=1, learning_rate=0.01, checkpoint_s=1e9, seed=SEED)

Work = Callable[[], object]


class Bench:
    """The supernet and the batches, and the three ways to train on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = ImageClassification(
            labels=tuple("0123456789"), input_shape=FMNIST.input_shape, mean=0.286, std=0.353,
            splits={})
        torch.manual_seed(SEED)
        self.net = MobileNetSupernet(FMNIST, self.task).to(memory_format=torch.channels_last)
        rng = np.random.default_rng(SEED)
        count = STEPS * BATCH
        images = rng.integers(0, 256, (count, *FMNIST.input_shape[1:]), dtype=np.uint8)
        self.data = TrainingData(
            task=self.task, batch_size=BATCH, seed=SEED, augmentation=Augmentation(),
            data=LabelledImages(images, rng.integers(0, 10, count, dtype=np.uint8)))

    def trainer(self) -> float:
        """Returns the CPU time of the trainer in ms."""
        checkpoint = self.folder / "checkpoint.pt"
        checkpoint.unlink(missing_ok=True)
        return cpu_ms(lambda: Trainer(supernet=self.net, task=self.task, data=self.data,
                                      config=CONFIG, checkpoint=checkpoint).run())

    def loop(self) -> float:
        """Returns the CPU time of the bare loop in ms."""
        self.net.train()
        return cpu_ms(self._loop)

    def parts(self) -> float:
        """Returns the sum of the CPU times of all parts in ms."""
        self.net.train()
        optimizer = CONFIG.make_optimizer(self.net)
        total = 0.0
        for step in range(STEPS):
            archs = self.archs(step)
            x, targets = self.data.batch(step)
            with torch.no_grad():
                teacher = self.net(x, archs[0])
            optimizer.zero_grad(set_to_none=True)
            total += cpu_ms(lambda step=step: self.data.batch(step))  # type: ignore[misc]
            for work in self._passes(x, targets, archs, teacher):
                total += cpu_ms(work)
            total += cpu_ms(optimizer.step)
        return total

    def archs(self, step: int) -> list[Arch]:
        """Returns what the trainer runs at a step."""
        return Sandwich()(self.net.space, derive_rng(SEED, "sampling", index=step))

    def _loop(self) -> None:
        optimizer = CONFIG.make_optimizer(self.net)
        for step in range(STEPS):
            archs = self.archs(step)
            x, targets = self.data.batch(step)
            optimizer.zero_grad(set_to_none=True)
            teacher = self.net(x, archs[0])
            (label_loss(teacher, targets) / len(archs)).backward()
            for arch in archs[1:]:
                (soft_cross_entropy(self.net(x, arch), teacher) / len(archs)).backward()
            optimizer.step()

    def _passes(self, x: Tensor, targets: Tensor, archs: Sequence[Arch],
                teacher: Tensor) -> list[Work]:
        # Each adds to the gradients that are there, as it does in a step.
        def one(arch: Arch, loss: Callable[[Tensor], Tensor]) -> Work:
            return lambda: (loss(self.net(x, arch)) / len(archs)).backward()

        return [one(archs[0], lambda logits: label_loss(logits, targets)),
                *(one(arch, lambda logits: soft_cross_entropy(logits, teacher))
                  for arch in archs[1:])]


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the loss of the largest architecture."""
    return F.cross_entropy(logits, targets, label_smoothing=CONFIG.label_smoothing)


def cpu_ms(work: Work) -> float:
    """Returns the CPU time of one call."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def measure(bench: Bench, *, rounds: int) -> dict[str, Any]:
    """Returns the median CPU time of a step each way, and the ratios of neighbours."""
    ways = {"trainer": bench.trainer, "loop": bench.loop, "parts": bench.parts}
    names = list(ways)
    for way in ways.values():
        way()
    rows = []
    for turn in range(rounds):  # each comes first, second and third equally often
        order = names[turn % 3:] + names[:turn % 3]
        times = {name: ways[name]() for name in order}
        rows.append(times)
        print(" ".join(f"{name} {times[name] / STEPS:.1f} ms" for name in names), flush=True)
    figures: dict[str, Any] = {"step_ms": {
        name: statistics.median(row[name] for row in rows) / STEPS for name in names}}
    for other in ("loop", "parts"):
        ratios = [row["trainer"] / row[other] for row in rows]
        quartiles = statistics.quantiles(ratios, n=4)
        figures[f"trainer_to_{other}"] = {
            "median": statistics.median(ratios), "quartiles": [quartiles[0], quartiles[2]]}
    return figures


def main() -> None:
    """Measures and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Bench(Path(folder)), rounds=rounds)
    for name, target in TARGETS.items():
        figures[name]["target"] = target
    write_report("trainer", {"batch": BATCH, "steps_a_turn": STEPS, "rounds": rounds, **figures},
                 seed=SEED)


if __name__ == "__main__":
    main()
