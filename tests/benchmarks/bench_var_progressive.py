"""Progressive training of depths against fixed ratios, at equal steps.

All start from one whole net that has learnt little of subnets (`train_var_fmnist.py` keeps it:
``var_epoch3.pt``, before its joint phase), learn from the first 10,000 images of Fashion-MNIST, and
make the same number of steps with the same batches: VARiant's three phases (1 : 3 : 2, as its 5, 15
and 10 epochs) against p = 0.1 and p = 1.0. A run is kept as it ends, so that a stopped benchmark
goes on; `--minutes` stops it.

    python tests/benchmarks/bench_var_progressive.py --work DIR
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_report
from _var import BRIDGE, SAMPLES, Bench
from train_var_fmnist import FMNIST, VAE_FMNIST, VAR_RECIPE, read_maps

from nas.pipeline.device import keep_freed_memory
from supernets.tasks.visual_generation import TokenMaps
from supernets.var.checkpoints import load_vae, load_var
from supernets.var.depth_schedule import DepthSchedule, Phase, fixed, progressive
from supernets.var.space import full_arch, variant_arch
from supernets.var.training import TokenBatches, train_depths

IMAGES, EPOCHS, BATCH, SEEDS = 10_000, 2, 32, (0, 1, 2)
RECIPE = replace(VAR_RECIPE, epochs=EPOCHS, learning_rate=4e-4, warmup_epochs=0.1)
RULES: Mapping[str, tuple[Phase, ...]] = {
    "progressive": progressive(joint=EPOCHS / 6, transition=EPOCHS / 2, subnets=EPOCHS / 3),
    "fixed p=0.1": fixed(EPOCHS, 0.1), "fixed p=1.0": fixed(EPOCHS, 1.0)}
ARCHS = {"d16": full_arch(FMNIST), "d4": variant_arch(FMNIST, bridge=BRIDGE, depth=4),
         "d2": variant_arch(FMNIST, bridge=BRIDGE, depth=2)}


def run(rule: str, seed: int, work: Path, bench: Bench) -> dict[str, Any]:
    """Returns the figures of one training."""
    net = load_var(work / "var_epoch3.pt", FMNIST)
    maps = read_maps(work, "train")
    data = TokenBatches(vae=load_vae(work / "vae.pt", VAE_FMNIST).eval(), batch_size=BATCH,
                        maps=TokenMaps(maps.tokens_NL[:IMAGES], maps.labels_N[:IMAGES]), seed=seed)
    schedule = DepthSchedule(config=FMNIST, phases=RULES[rule], draw="variant",
                             steps_per_epoch=data.steps_per_epoch)
    name = f"{rule.replace(' ', '_')}_{seed}"
    started = time.process_time()
    train_depths(net, data, schedule, config=replace(RECIPE, seed=seed),
                 checkpoint=work / f"progressive_{name}.pt")
    spent = time.process_time() - started
    bench.net.net = net
    return {"rule": rule, "seed": seed, "steps": EPOCHS * data.steps_per_epoch,
            "cpu_minutes": round(spent / 60, 1),
            "depths": {depth: {**bench.validated(arch), **bench.figures(arch, seeds=(seed,))}
                       for depth, arch in ARCHS.items()}}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns means over seeds of each rule and depth."""
    return {rule: {depth: {what: round(float(np.mean([one["depths"][depth][what]
                                                      for one in runs if one["rule"] == rule])), 3)
                           for what in ("error", "fid_mean", "accuracy_mean")}
                   for depth in ARCHS}
            for rule in RULES if any(one["rule"] == rule for one in runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="supernet folder whose feature net judges")
    parser.add_argument("--minutes", type=float, default=1e9)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    started, kept = time.monotonic(), args.work / "progressive.json"
    bench = Bench(args.folder) if args.folder else Bench()
    runs = json.loads(kept.read_text()) if kept.exists() else []
    for seed in SEEDS:
        for rule in RULES:
            if any((one["rule"], one["seed"]) == (rule, seed) for one in runs):
                continue
            if time.monotonic() - started > 60 * args.minutes:
                break
            runs.append(run(rule, seed, args.work, bench))
            kept.write_text(json.dumps(runs))
            print(runs[-1], flush=True)
    print(write_report("var_progressive", {
        "images": IMAGES, "epochs": EPOCHS, "batch": BATCH, "bridge": BRIDGE, "samples": SAMPLES,
        "phases": {rule: list(map(repr, phases)) for rule, phases in RULES.items()},
        "means": summary(runs), "runs": runs}, seed=SEEDS[0]))


if __name__ == "__main__":
    main()
