"""What training each candidate gives over inherited weights, and what stopping early saves.

The shipped supernet, on the first training images of Fashion-MNIST, so that it takes minutes; the
learning rates are compared on one network, on the search split. The search is `nas search
--evaluation trained` as a user has it, by Ray Tune; its networks are then validated with inherited
weights, too, on the test split that neither saw.

    python tests/benchmarks/bench_trained.py --data /usr/share/datasets/fashion-mnist --work DIR

What is in the work folder already is not trained again.
"""

import argparse
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from nas.core.arch import Arch
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.run_dir import RunDir
from nas.pipeline.search import resume_search, run_search
from nas.pipeline.trained import networks, trained_evaluator
from nas.search.ledger import read_ledger
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.idx import read_split

IMAGES = 10_000
EPOCHS = 3
BUDGET = 8
RATES = {"inherited": (0.001, 0.005, 0.02), "scratch": (0.05, 0.2, 0.8)}


def first_images(source: Path, folder: Path) -> None:
    """Writes an idx folder with the first training images of another."""
    images, labels = read_split(source, "train")
    for name, array in (("images-idx3", images[:IMAGES]), ("labels-idx1", labels[:IMAGES])):
        header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(header + array.tobytes())


def rates(supernet: MobileNetSupernet, data: Path, work: Path) -> list[dict[str, Any]]:
    """Returns the error after each epoch of one network, by start and learning rate."""
    arch = supernet.space.decode(supernet.space.sample_codes(1, np.random.default_rng(0)))[0]
    rows = []
    for start, values in RATES.items():
        for rate in values:
            config = make_config({"evaluation": "trained", "train_from": start, "train_lr": rate,
                                  "train_epochs": EPOCHS, "data": data})
            evaluate = trained_evaluator(config, supernet, work / f"{start}-{rate}")
            rows.append({"from": start, "learning_rate": rate, "errors": [
                metrics["error"] for metrics in evaluate.epochs(arch)]})
            print(rows[-1], flush=True)
    return rows


def search(supernet: MobileNetSupernet, data: Path, out: Path) -> dict[str, Any]:
    """Returns the figures of one search that trains."""
    config = make_config({
        "evaluation": "trained", "train_epochs": EPOCHS, "data": data, "budget": BUDGET,
        "objectives": ("error", "macs"), "workers": 2, "out": out})
    if not out.exists():
        run_search(config)
    elif not (out / "pareto.json").exists():
        resume_search(out)
    payload = json.loads((out / "pareto.json").read_text())
    storage, study = RunDir(out).ledger(config)
    outcomes = read_ledger(storage, space=supernet.space, study_name=study,
                           objectives=config.objective_values()).outcomes()
    trained = networks(config, supernet, out)
    rows = [{"digest": o.trial.arch.digest, "macs": o.metrics["macs"],
             "inherited": tested(supernet, o.trial.arch, None),
             "trained": tested(supernet, o.trial.arch, trained)} for o in outcomes if o.final]
    done = sum(round(o.cost * EPOCHS) for o in outcomes)
    best = next(row for row in rows if row["digest"] == payload["best"]["digest"])
    return {"trials": len(outcomes), "trained_to_the_end": len(rows),
            "failed": sum(not o.ok for o in outcomes), "epochs": done,
            "epochs_if_all_were": EPOCHS * len(outcomes),
            "epochs_saved_share": round(1 - done / (EPOCHS * len(outcomes)), 3),
            "winner": best, "networks": rows,
            "mean_gain_percent": float(np.mean([r["inherited"] - r["trained"] for r in rows])),
            "wall_s": payload["wall_s"]}


def tested(supernet: MobileNetSupernet, arch: Arch, trained: Any) -> float:
    """Returns the error on the test split."""
    task = supernet.task
    module = (supernet.recalibrated(arch, task.batches("train_calib")) if trained is None
              else trained(arch))
    return float(task.metrics(module, task.batches("test"))["error"])


def main() -> None:
    """Runs both parts and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    keep_freed_memory()
    supernet = load_supernet("mobilenet-fmnist")
    assert isinstance(supernet, MobileNetSupernet)
    data = arguments.work / "data"
    data.mkdir(parents=True, exist_ok=True)
    first_images(arguments.data, data)
    with one_thread():
        figures = {"images": IMAGES, "epochs": EPOCHS, "budget": BUDGET,
                   "search": search(supernet, data, arguments.work / "run"),
                   "learning_rates": rates(supernet, data, arguments.work)}
    write_report("trained", figures, seed=0)


if __name__ == "__main__":
    main()
