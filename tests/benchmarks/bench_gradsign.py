"""GradSign against one plain forward and backward pass, and against the loop over samples.

The CPU time of one thread, in paired rounds; peak memory in a process of its own each; and
equality with the loop, number by number, in float64.

    python tests/benchmarks/bench_gradsign.py
"""

import copy
import itertools
import math
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _cifar import cifar_batch
from _report import write_report
from torch import Tensor, nn
from torch.nn import functional as F

from predictors.zero_cost.gradsign import GradSign
from supernets.nasbench201.network import build
from supernets.nasbench201.text import from_ops

IMAGES, ROUNDS, LOOP_ROUNDS = 32, 15, 5
EXACT_IMAGES = 6  # in float64
GATE = 1.5
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def cell(ops: str) -> nn.Module:
    """Returns a network of NAS-Bench-201."""
    return build(from_ops(ops), rng=np.random.default_rng(0))


def mobilenet() -> nn.Module:
    """Returns a timm MobileNet for ten classes."""
    torch.manual_seed(0)
    module: nn.Module = timm.create_model("mobilenetv3_small_100", num_classes=10)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "nasbench201 333333": (lambda: cell("333333"), 32),
    "nasbench201 432123": (lambda: cell("432123"), 32),
    "nasbench201 421211": (lambda: cell("421211"), 32),
    "timm mobilenetv3_small_100": (mobilenet, 64)}


def images(count: int, side: int, layout: str) -> tuple[Tensor, Tensor]:
    """Returns CIFAR-10 images, enlarged if need be."""
    x, y = cifar_batch(count, 0)
    if side != x.shape[-1]:
        x = F.interpolate(x, size=(side, side), mode="bilinear")
    return x.contiguous(memory_format=LAYOUTS[layout]), y


def plain(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """One training step's passes."""
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(x), y).backward()


def score(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Ours."""
    GradSign()(model, (x, y), loss=F.cross_entropy, rng=np.random.default_rng(0))


def loop(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The loop that the paper's code is: a forward and a backward pass a sample."""
    layers = {name: part for name, part in model.named_modules() if isinstance(part, LAYERS)}
    sums = {name: torch.zeros_like(part.weight) for name, part in layers.items()}
    for index in range(len(x)):
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x[index:index + 1]), y[index:index + 1]).backward()
        for name, part in layers.items():
            if part.weight.grad is not None:
                sums[name] += part.weight.grad.sign()
    return {f"{name}.weight": total.abs() for name, total in sums.items()}


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    """Returns the CPU time of the calling thread."""
    start = time.thread_time()
    work(*arguments)
    return time.thread_time() - start


def differing(make: Callable[[], nn.Module], side: int) -> int:
    """Returns how many scores differ from the loop's in float64."""
    model = make().double().train()
    x, y = images(EXACT_IMAGES, side, "contiguous")
    expected = loop(copy.deepcopy(model), x.double(), y)
    found = GradSign().scores(model, (x.double(), y), loss=F.cross_entropy,
                              rng=np.random.default_rng(0))
    assert found.keys() == expected.keys()
    return sum(int((found[name] != expected[name]).sum()) for name in found)


def _peak(pipe: Connection, name: str, layout: str, kind: str) -> None:
    torch.set_num_threads(1)
    make, side = NETWORKS[name]
    model = make().to(memory_format=LAYOUTS[layout]).train()
    work: Callable[..., None] = plain if kind == "plain" else score
    work(model, *images(2, side, layout))  # what is loaded and packed once
    x, y = images(IMAGES, side, layout)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    work(model, x, y)
    pipe.send(_status("VmHWM") - before)


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def peak_bytes(name: str, layout: str, kind: str) -> int:
    """Returns how much a pass makes a process's memory grow."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_peak, args=(there, name, layout, kind))
    child.start()
    found = int(here.recv())
    child.join()
    return found


def measured(name: str, layout: str) -> dict[str, Any]:
    """Returns the row of one network in one memory layout."""
    make, side = NETWORKS[name]
    model = make().to(memory_format=LAYOUTS[layout]).train()
    x, y = images(IMAGES, side, layout)
    for work in (plain, score):
        work(model, x, y)
    rounds = np.array([[seconds(plain, model, x, y), seconds(score, model, x, y)]
                       for _ in range(ROUNDS)])
    loops = [seconds(loop, model, x, y) for _ in range(LOOP_ROUNDS)]
    largest = max(part.weight.numel() for part in model.modules() if isinstance(part, LAYERS))
    memory = {kind: peak_bytes(name, layout, kind) for kind in ("plain", "gradsign")}
    ratios = rounds[:, 1] / rounds[:, 0]
    return {
        "side": side, "images": IMAGES, "plain_s": float(np.median(rounds[:, 0])),
        "gradsign_s": float(np.median(rounds[:, 1])), "loop_s": float(np.median(loops)),
        "gradsign_over_plain": float(np.median(ratios)),
        "quartiles": [float(edge) for edge in np.quantile(ratios, (0.25, 0.75))],
        "loop_over_gradsign": float(np.median(loops) / np.median(rounds[:, 1])),
        "within_gate": bool(np.median(ratios) <= GATE),
        "peak_bytes": memory, "largest_layer_bytes": IMAGES * largest * 4,
        "memory_within_gate": memory["gradsign"] <= memory["plain"] + IMAGES * largest * 4,
        "float64_scores_that_differ": differing(make, side)}


def main() -> None:
    """Measures every network and writes the report."""
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for name, layout in itertools.product(NETWORKS, LAYOUTS):
        row = rows[f"{name}, {layout}"] = measured(name, layout)
        print(f"{name}, {layout}: {row['gradsign_over_plain']:.2f} × plain "
              f"({row['plain_s']:.3f} s), loop {row['loop_over_gradsign']:.1f} × ours, peak "
              f"{row['peak_bytes']['gradsign'] / 2**20:.0f} MiB, plain "
              f"{row['peak_bytes']['plain'] / 2**20:.0f} MiB, "
              f"{row['float64_scores_that_differ']} scores differ", flush=True)
    worst = math.ceil(100 * max(row["gradsign_over_plain"] for row in rows.values())) / 100
    print(write_report("gradsign", {"gate": GATE, "worst_ratio": worst, "networks": rows}, seed=0))


if __name__ == "__main__":
    main()
