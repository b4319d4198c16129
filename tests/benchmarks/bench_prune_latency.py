"""Is a budget of latency met as measured, and is no network within another budget slower?

Networks of four families are pruned by `nas.prune` to 60 % of their latency, and to 40, 60 and 80 %
of their multiply-adds, by each method. Images are a few hundred of Fashion-MNIST at 32 pixels and
trainings one epoch long: what is measured is speed, and accuracies mean nothing here. After each
pruning both bundles' ONNX files are measured once more, in turns, independently of the tool. Times
are CPU times of one thread. The profiles that latencies are predicted by are taken more quickly
than the tool would (see `PROTOCOL`): they are of thousands of blocks, an hour each on two busy
cores, and what networks measure corrects them. Finished rows are kept under --work: a stopped
benchmark goes on, and --report alone writes what is there.

    python tests/benchmarks/bench_prune_latency.py --data DIR --work DIR
"""

import argparse
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

import nas
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, user_store
from nas.core.errors import NasError
from nas.core.rng import derive_rng
from nas.export.manifest import ONNX
from nas.pipeline.design import load_design
from nas.pipeline.prune.aligning import FASTER, MULTIPLES
from nas.pipeline.prune.folder import PruneDir, read_json
from nas.pipeline.prune.measuring import measure_files
from nas.pipeline.prune.request import make_prune_request
from nas.pipeline.prune.run import BudgetMissed
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import LabelledImages
from supernets.tasks.splits import balanced

MODELS = ("cifar_resnet20", "resnet18", "mobilenetv2_100", "cifar_resnet56")
METHODS = ("tas", "uniform", "precrop", "layer-tickets", "random")
LATENCY, MACS = "max_latency_ms", "macs"
ROUNDS = (((MACS, "60%"), (LATENCY, "60%")), ((MACS, "80%"),), ((MACS, "40%"),))
BUDGETS = tuple(budget for budgets in ROUNDS for budget in budgets)
IMAGES = {"train": 600, "t10k": 200}
SIDE = 32
PROTOCOL = MeasureProtocol(warm_up=2, runs=10, passes=3, max_passes=6)
NETWORKS = 20  # to calibrate a profile on, and as many to check it
AGAIN_SEED = 101  # of the orders of the independent measurement


def few_images(source: Path, folder: Path) -> Path:
    """Makes a folder of idx files of a few of the images, as many of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in IMAGES.items():
        images, labels = read_split(source, split)
        few = balanced(LabelledImages(images, labels), count, derive_rng(0, f"few {split}"))
        for name, values in ((f"{split}-images-idx3-ubyte", few.images),
                             (f"{split}-labels-idx1-ubyte", few.labels)):
            head = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (folder / name).write_bytes(head + np.ascontiguousarray(values, np.uint8).tobytes())
    return folder


def jobs(models: tuple[str, ...], methods: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Yields model, budget, how much, method; what matters most comes first."""
    for budgets in ROUNDS:
        for model, (budget, amount), method in product(models, budgets, methods):
            yield model, budget, amount, method


def row(work: Path, data: Path, model: str, budget: str, amount: str, method: str
        ) -> Mapping[str, Any]:
    """Prunes once and returns what was measured, or why there is no network."""
    out = work / f"{model}-{budget}-{amount.rstrip('%')}"
    request = make_prune_request({
        "model": f"timm:{model}", "data": data, "out": out, budget: amount, "method": method,
        "epochs": 1, "batch_size": 32, "image_size": SIDE, "kd": False, "hflip": 0.0,
        "crop_scale": "0.9,1"})
    error = None
    try:
        payload = nas.prune(request).payload
    except BudgetMissed as missed:
        payload, error = missed.result.payload, "missed"
    except NasError as refused:
        return {"error": str(refused)}
    choice = read_json(PruneDir(out).choice(method))
    assert choice is not None
    again = measure_files({"before": out / "unpruned" / ONNX,
                           "after": Path(payload["bundle"]) / ONNX}, threads=1, seed=AGAIN_SEED)
    before, after = payload["before"], payload["after"]
    latency = payload["latency"]
    return {
        "error": error, "macs": after["macs"] / before["macs"],
        "latency": after["latency_ms"] / before["latency_ms"],
        "again": again["after"].latency_ms / again["before"].latency_ms,
        "again_spread": max(one.spread for one in again.values()),
        "slower": payload["slower"], "aligned": payload["aligned"], "shares": choice["shares"],
        "tries": choice["tries"],
        "budget": None if latency is None else {
            **{key: latency[key] for key in ("target_ms", "predicted_ms", "measured_ms", "spread",
                                             "stable", "met")},
            "again_ms": again["after"].latency_ms,
            "again_of_target": again["after"].latency_ms / latency["target_ms"]}}


def store_profile(work: Path, model: str) -> None:
    """Measures the blocks of a model's space, whose supernet another budget has left, once."""
    supernet = work / f"{model}-{MACS}-60" / "supernet"
    done = work / f"{model}-profile"
    if supernet.is_dir() and not done.is_file():
        design = load_design(str(supernet))
        start = time.process_time()
        profile = profile_host(design.space, design.vocabulary, design.block_ids, seed=0,
                               config=HostConfig(calib_nets=NETWORKS, test_nets=NETWORKS,
                                                 protocol=PROTOCOL))
        user_store().save(profile)
        done.touch()
        print(model, "profile", len(design.vocabulary), "blocks",
              round(time.process_time() - start), "s", flush=True)


def kept(path: Path, make: Any) -> dict[str, Any]:
    """Returns a finished row, made if it is not there."""
    if not path.is_file():
        found = make()
        path.write_text(json.dumps(found))
        print(path.stem, json.dumps(found), flush=True)
    return dict(json.loads(path.read_text()))


def rounded(value: Any) -> Any:
    """Returns the same with four digits after the point."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def figures(rows: Mapping[tuple[str, str, str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the rows by budget, and how many did what."""
    found: dict[str, Any] = {
        "image_side": SIDE, "threads": 1, "multiples": MULTIPLES, "faster_is": FASTER}
    for budget, amount in BUDGETS:
        mine = [{"model": model, "method": method, **rounded(values)}
                for (model, its, much, method), values in rows.items()
                if (its, much) == (budget, amount)]
        if not mine:
            continue
        made = [one for one in mine if "macs" in one]
        name = f"{budget} {amount}"
        found[name] = {"networks": len(made), "refused": len(mine) - len(made)}
        if budget == LATENCY:
            found[name] |= {
                "met": sum(one["budget"]["met"] for one in made),
                "met_again": sum(abs(one["budget"]["again_of_target"] - 1) <= 0.05
                                 for one in made),
                # Of the unpruned network's latency in the same turns, whatever the machine does.
                "met_again_as_share": sum(abs(one["again"] / 0.6 - 1) <= 0.05 for one in made),
                "missed": [f"{one['model']} {one['method']}" for one in made
                           if not one["budget"]["met"]]}
        else:
            found[name] |= {
                "chosen_not_faster": sum(one["shares"][0][1] > FASTER for one in made),
                "chosen_slower": sum(one["shares"][0][1] > 1 for one in made),
                "aligned": sum(one["aligned"] is not None for one in made),
                "slower": [f"{one['model']} {one['method']}" for one in made if one["slower"]],
                "slower_again": [f"{one['model']} {one['method']}" for one in made
                                 if one["again"] > 1]}
        found[name]["rows"] = mine
    return found


def main() -> None:
    """Makes the rows that are missing, then the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    os.environ[CACHE_VARIABLE] = str((given.work / "cache").resolve())  # profiles of this run
    data = few_images(given.data, given.work / "data")
    rows = {}
    for job in jobs(tuple(given.models), tuple(given.methods)):
        path = given.work / f"{'-'.join(job).replace('%', '')}.json"
        if job[1] == LATENCY and not given.report:
            store_profile(given.work, job[0])
        if path.is_file() or not given.report:
            rows[job] = kept(path, lambda job=job: row(given.work, data, *job))
    write_report("prune_latency", figures(rows), seed=0)


if __name__ == "__main__":
    main()
