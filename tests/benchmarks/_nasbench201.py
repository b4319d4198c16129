"""Scores of NAS-Bench-201 networks that outlive the process: one CSV file a proxy."""

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _cifar import cifar_batch
from _report import FOLDER
from torch.nn import functional as F

from nas.core.errors import EvaluationError
from nas.core.rng import derive_rng
from nas.core.types import FloatArray
from predictors.registry import PROXIES
from supernets.nasbench201.network import build
from supernets.nasbench201.text import from_ops

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "nas_benchmarks"
TABLE = SHARED / "nasbench201_cifar10.csv"
PUBLISHED = SHARED / "nasbench201_cifar10_published_proxies.csv"
SCORES = FOLDER / "nasbench201"
SEED = 0
# Training images of CIFAR-10 that a score is computed on.
BATCHES = {"naswot": 64, "jacob_cov": 64, "epe_nas": 64, "zico": 64}
BATCH = 32  # of all others
COLUMNS = ("ops", "score", "cpu_s")


class Scores:
    """One proxy's scores, by the six digits of an architecture; NaN where it has none."""

    def __init__(self, proxy: str, folder: Path = SCORES) -> None:
        self.proxy = proxy
        self._path = folder / f"{proxy}.csv"
        self._rows: dict[str, tuple[float, float]] = {}
        if self._path.is_file():
            with self._path.open(newline="") as file:
                self._rows = {row["ops"]: (float(row["score"]), float(row["cpu_s"]))
                              for row in csv.DictReader(file)}

    def missing(self, ops: Sequence[str]) -> list[str]:
        """Returns those that have not been scored yet."""
        return [one for one in ops if one not in self._rows]

    def of(self, ops: Sequence[str]) -> FloatArray:
        """Returns the scores (N,)."""
        return np.array([self._rows[one][0] for one in ops])

    def seconds(self, ops: Sequence[str]) -> FloatArray:
        """Returns the CPU seconds of each score (N,)."""
        return np.array([self._rows[one][1] for one in ops])

    def compute(self, ops: str) -> None:
        """Scores one network at default initialisation and appends it to the file."""
        size = BATCHES.get(self.proxy, BATCH)
        x, y = cifar_batch(size, SEED)
        x = x.contiguous(memory_format=torch.channels_last)
        module = build(from_ops(ops), rng=derive_rng(SEED, "initialisation"))
        module = module.to(memory_format=torch.channels_last)
        proxy = PROXIES.get(self.proxy).resolve()()
        start = time.thread_time()
        try:
            score = proxy(module, (x, y), loss=F.cross_entropy,
                          rng=derive_rng(SEED, f"proxy {self.proxy}"))
        except EvaluationError:
            score = math.nan
        self._rows[ops] = (score, time.thread_time() - start)
        new = not self._path.is_file()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([ops, repr(score), f"{self._rows[ops][1]:.4f}"])


def published() -> dict[str, dict[str, float]]:
    """Returns the published scores by architecture: column → value, NaN where there is none."""
    with PUBLISHED.open(newline="") as file:
        return {row["ops"]: {name: float(value or "nan") for name, value in row.items()
                             if name not in ("ops", "index")} for row in csv.DictReader(file)}
