"""What sharing weights costs speech encoders: inherited against distilled alone, for equal steps.

From the first stage's weights of a training by `train_hubert_digits.py` (its work folder), these go
on with the same batches for the same number of steps: a supernet that trains one random network at
each (the second stage), and each of some random networks by itself. So do a supernet that trains
four at each (`Sandwich`, all on the targets) and one that starts with random weights. All are
compared by their distillation loss on held-out prompts.
Each training is kept as a row, so that a stopped run goes on.

    python tests/benchmarks/bench_hubert_distillation.py --teacher WHISPER.safetensors --work DIR
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _prompts import LONGEST_S, PROMPTS
from _report import write_report
from bench_alone import Alone
from scipy.stats import spearmanr
from train_hubert_digits import CONTEXT_S, speech, windows

from nas.core.arch import Arch
from nas.core.rng import derive_rng
from nas.core.types import FloatArray
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.hubert.batches import SpeechBatches
from supernets.hubert.presets import TINY
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.targets import TargetCache
from supernets.hubert.training import StagedTraining
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.hubert.whisper import open_whisper
from supernets.tasks.distillation import FeatureDistillation, TaughtWindows
from supernets.training.sampling import SamplingRule, Sandwich, SinglePath
from supernets.training.trainer import Progress, TrainConfig

NETWORKS = 20
SEED = 0
BATCH_SECONDS = 1.02 * LONGEST_S[-1]
TEACHING = {"sandwich": 0.0}  # share of the others' loss that the largest network's prediction is


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all trainings share."""

    work: Path
    data: SpeechBatches
    splits: dict[str, TaughtWindows]
    first_stage: dict[str, Any]
    dim: int

    def trained(self, name: str, rule: SamplingRule, *, inherit: bool) -> HubertSupernet:
        """Returns a supernet that was trained by a rule, from the first stage or from nothing."""
        torch.manual_seed(SEED)
        net = HubertSupernet(TINY, target_dim=self.dim)
        if inherit:
            net.load_state_dict(self.first_stage)
        config = TrainConfig(epochs=1, learning_rate=6e-4, optimizer="adamw", weight_decay=0.01,
                             warmup_epochs=0.1, clip_norm=1.0, checkpoint_s=60.0, seed=SEED,
                             teaching=TEACHING.get(name, 1.0))
        folder = self.work / name
        folder.mkdir(exist_ok=True)

        def step(_stage: int, progress: Progress) -> None:
            if progress.step % 100 == 0:
                print(f"{name} {progress.step}/{progress.total_steps} {progress.loss:.4f}",
                      flush=True)

        StagedTraining(supernet=net, data=self.data, folder=folder, first=None, second=config,
                       rule=rule, on_step=step).run()
        return net

    def error(self, net: HubertSupernet, arch: Arch) -> float:
        """Returns the distillation loss on held-out prompts, in % of the loss of zeros."""
        assert net.prediction_head is not None
        task = FeatureDistillation(head_DE=net.prediction_head.weight.detach(), splits=self.splits)
        batches = [batch for split in ("search", "test") for batch in task.batches(split)]
        return task.metrics(WaveSupernet(net.eval()).extract(arch), batches)["error"]

    def row(self, kind: str, arch: Arch, rule: SamplingRule) -> dict[str, Any]:
        """Returns the row of a network that is trained by itself; a kept one, if there is."""
        file = self.work / f"{kind}-{arch.digest}.json"
        if not file.exists():
            started = time.process_time()
            net = self.trained(f"{kind}-{arch.digest}", rule, inherit=True)
            row = {"digest": arch.digest, "error": self.error(net, arch),
                   "cpu_s": round(time.process_time() - started, 1)}
            file.write_text(json.dumps(row))
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def figures(bench: Bench, archs: Sequence[Arch]) -> dict[str, Any]:
    """Trains all and returns the comparison."""
    shared = bench.trained("shared", SinglePath(), inherit=True)
    fresh = bench.trained("fresh", SinglePath(), inherit=False)
    sandwich = bench.trained("sandwich", Sandwich(), inherit=True)
    rows = []
    for arch in archs:
        alone = bench.row("alone", arch, Alone(arch))
        rows.append({"digest": arch.digest, "inherited": bench.error(shared, arch),
                     "alone": alone["error"], "sandwich": bench.error(sandwich, arch),
                     "stage2_from_random": bench.error(fresh, arch),
                     "alone_cpu_s": alone["cpu_s"]})
        print(rows[-1], flush=True)
    def column(name: str) -> FloatArray:
        return np.array([row[name] for row in rows])

    found: dict[str, Any] = {"steps": bench.data.steps_per_epoch, "batch_seconds": BATCH_SECONDS,
                             "networks": rows, "alone_mean": float(column("alone").mean())}
    for kind in ("inherited", "sandwich", "stage2_from_random"):
        gaps = 100.0 * (column(kind) / column("alone") - 1.0)
        found[kind] = {"mean": float(column(kind).mean()), "gap_mean_percent": float(gaps.mean()),
                       "gap_worst_percent": float(gaps.max()),
                       "spearman": float(spearmanr(column(kind), column("alone")).statistic)}
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="of train_hubert_digits.py")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--networks", type=int, default=NETWORKS)
    options = parser.parse_args()
    keep_freed_memory()
    heard = speech(options.prompts)
    clips = heard.clips
    teacher = open_whisper(options.teacher, last=2, context_s=CONTEXT_S)
    cache = TargetCache(options.work / "targets", teacher, instance_norm=True)
    rng = derive_rng(SEED, "distillation benchmark")
    chosen = [clips[place] for place in rng.permutation(len(clips))]
    seconds = np.cumsum([len(clip) for clip in chosen]) / 16_000
    chosen = chosen[:int(np.searchsorted(seconds, 0.93 * options.steps * BATCH_SECONDS))]
    work = options.work / f"alone{options.steps}"
    work.mkdir(exist_ok=True)
    with one_thread():
        data = SpeechBatches(config=TINY, waves=chosen, targets=cache.prepare(chosen),
                             batch_seconds=BATCH_SECONDS, seed=SEED, learn="all")
        print(f"{data.steps_per_epoch} steps of {BATCH_SECONDS} s", flush=True)
        first = torch.load(options.work / "stage1.pt", weights_only=True)["supernet"]
        bench = Bench(work=work, data=data, splits=windows(heard.others, cache), first_stage=first,
                      dim=teacher.dim)
        space = HubertSupernet(TINY).space
        archs = [space.sample(rng) for _ in range(options.networks)]
        found = figures(bench, archs)
    write_report("hubert_distillation", found, seed=SEED)


if __name__ == "__main__":
    main()
