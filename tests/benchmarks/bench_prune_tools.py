"""Pruned networks of this project beside those of torch-pruning and modelopt, side by side.

One trained ResNet-20 (Fashion-MNIST at 28 pixels, 10,000 training images) is pruned to 60 % of its
multiply-adds by each tool. Nothing is trained afterwards; batch norms of all are measured anew on
the same 1,000 training images, and FastNAS and our search judge networks on the same 2,000
training images that are held out. Latency is that of the ONNX files of all in turns (ONNX Runtime,
one thread), as a ratio to the unpruned network; accuracy is that on the 10,000 test images. CPU
time of each is that of one process with one thread.

What is finished is kept under --work: a stopped benchmark goes on. modelopt is no dependency of the
project: run the script once where ``nvidia-modelopt==0.47.0`` and ``torchprofile==0.0.4`` are
installed, too; elsewhere rows that are not kept are listed with the reason.

    python tests/benchmarks/bench_prune_tools.py --data DIR --work DIR [--seeds 0 1 2]
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _prune_net import MODEL, Net, fashion_mnist, macs, plain
from _prune_ours import SIMPLE, Made, adapted, front_rows, searched, simply_pruned
from _prune_peers import fast_nas, torch_pruned
from _report import write_report
from torch import nn

from nas.core.rng import derive_rng
from nas.export.onnx import export_onnx
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.prune.measuring import measure_files
from supernets.timm.cifar_resnet import register

SHARE = 0.6  # of the multiply-adds
VALIDATIONS = 48  # of a search: about as many as FastNAS does with divisor 8
SPACES: dict[str, dict[str, Any]] = {  # what residual blocks add to keeps its width in two of them
    "inner widths and depth, multiple 8": {"multiple": 8, "whole_streams": True},
    "inner widths and depth, multiple 4": {"multiple": 4, "whole_streams": True},
    "all widths and depth, multiple 8": {"multiple": 8, "whole_streams": False}}


def jobs(net: Net, module: nn.Module, seed: int) -> dict[str, Callable[[], Made]]:
    """Returns what makes each row, by its name; a search gives several."""
    found: dict[str, Callable[[], Made]] = {
        "unpruned": lambda: [(module, {})],
        "unpruned, plain shortcuts": lambda: [(plain(module), {})]}
    for everywhere in (False, True):
        for round_to in (None, 4, 8, 16):
            name = f"torch-pruning {'global' if everywhere else 'local'}"
            found[f"{name}, round_to {round_to}" if round_to else name] = partial(
                _one, torch_pruned, net, module, SHARE, everywhere=everywhere, round_to=round_to)
    for method in SIMPLE:
        for multiple in (1, 8):
            found[f"ours: {method}, multiple {multiple}"] = partial(
                _one, simply_pruned, net, module, SHARE, method=method, multiple=multiple)
    for divisor in (8, 4):
        found[f"modelopt FastNAS, divisor {divisor}"] = partial(
            _one, fast_nas, net, module, SHARE, divisor=divisor)
    for space, options in SPACES.items():
        # Step by step through 31 genes it would validate four times as many networks.
        for metric in ("macs", "latency_ms") if options["whole_streams"] else ():
            found[f"ours: netadapt by {metric}, {space}"] = partial(
                adapted, net, module, SHARE, metric=metric, **options)
    for space, options in SPACES.items():
        found[f"ours: linas, {space}"] = partial(
            searched, net, module, SHARE, validations=VALIDATIONS, seed=seed, **options)
    return found


def _one(make: Callable[..., tuple[nn.Module, Mapping[str, Any]]], *args: Any, **options: Any
         ) -> Made:
    return [make(*args, **options)]


def rows(net: Net, name: str, seed: int, make: Callable[[], Made]) -> list[dict[str, Any]]:
    """Returns finished rows, made if they are not there: judged and exported.

    Raises:
        ImportError: They are not there, and the tool is not installed.
    """
    path = net.work / f"{name.replace(' ', '_').replace(':', '').replace(',', '')}-{seed}.json"
    if not path.is_file():
        start = time.process_time()
        made = make()
        spent = time.process_time() - start
        found = []
        for place, (module, facts) in enumerate(made):
            module = net.recalibrated(module)
            file = path.with_suffix(f".{place}.onnx")
            export_onnx(module, net.task.example_inputs(2, derive_rng(0, "export")), file,
                        metadata={})
            found.append({"tool": name, "seed": seed, "macs": macs(module, net.task.input_shape),
                          "accuracy": round(net.accuracy(module), 2), "search_cpu_s":
                          round(spent, 1), **facts, "file": file.name})
            print(json.dumps({key: value for key, value in found[-1].items() if key != "genes"}),
                  flush=True)
        path.write_text(json.dumps(found))
    kept: list[dict[str, Any]] = json.loads(path.read_text())
    return kept


def compared(net: Net, seed: int, *, again: bool) -> dict[str, Any]:
    """Returns all rows of one network, measured in turns, and those that none is better than."""
    found: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for name, make in jobs(net, net.trained(seed), seed).items():
        try:
            found += rows(net, name, seed, make)
        except ImportError as error:
            missing[name] = str(error)
    path = net.work / f"latency-{seed}.json"
    if again or not path.is_file():
        measured = measure_files({row["file"]: net.work / row["file"] for row in found},
                                 threads=1, seed=seed)
        path.write_text(json.dumps({file: asdict(one) for file, one in measured.items()}))
    latency = json.loads(path.read_text())
    whole = found[0]
    for row in found:
        timed = latency[row["file"]]
        row |= {"macs_percent": round(100.0 * row["macs"] / whole["macs"], 1),
                "latency_ratio": round(timed["latency_ms"] / latency[whole["file"]]["latency_ms"],
                                       3), "settled": timed["stable"]}
    return {"seed": seed, "unpruned_ms": round(latency[whole["file"]]["latency_ms"], 4),
            "missing": missing, **_front([row for row in found if row["macs_percent"] <= 60.05]),
            "rows": [{key: value for key, value in row.items()
                      if key not in ("file", "macs", "seed")} for row in found]}


def _front(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = [[-row["accuracy"], row["latency_ratio"]] for row in found]
    on_front = [found[place] for place in front_rows(np.array(values))]
    ours = [row for row in found if row["tool"].startswith("ours")]
    others = [row for row in found if row not in ours]
    undominated = [row for row in others if not any(_no_worse(our, row) for our in ours)]
    return {"front": [_point(row) for row in on_front],
            "others_that_none_of_ours_dominates": [_point(row) for row in undominated]}


def _no_worse(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["accuracy"] >= other["accuracy"]
                and one["latency_ratio"] <= other["latency_ratio"])


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("tool", "macs_percent", "latency_ratio", "accuracy")}


def main() -> None:
    """Makes the rows that are missing, measures all, and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--measure-again", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    register()
    net = fashion_mnist(given.data, given.work)
    keep_freed_memory()
    with one_thread():
        found = [compared(net, seed, again=given.measure_again) for seed in given.seeds]
    write_report("prune_tools", {
        "model": MODEL, "pixels": net.task.input_shape[1], "share_of_macs": SHARE,
        "validations_of_linas": VALIDATIONS,
        "networks": found}, seed=given.seeds[0])


if __name__ == "__main__":
    main()
