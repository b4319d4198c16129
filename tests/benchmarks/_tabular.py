"""NAS-Bench-201 as a search problem with known answers, by the protocol of the reference.

Errors and latencies are normalised so that 0 is the best of the table and 1 its 95th percentile,
over the architectures above 50 % accuracy; hypervolume counts up to (1, 1), as a share of the
whole table's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nas.core.pareto import hypervolume, non_dominated
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.types import FloatArray, IntArray
from nas.pipeline.knowledge import code_features, known_objectives, make_predictor
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.table import TabularEvaluator, TabularLatency
from supernets.nasbench201.table_file import Table, read_table

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "nas_benchmarks"
TABLE = SHARED / "nasbench201_cifar10.csv"
DEVICES = {"gtx": "ms_gtx1080ti_b256", "raspi": "ms_raspi4", "xeon": "ms_xeon_gold_6226"}
OBJECTIVES = (Objective("error", "%"), Objective("latency_ms", "ms"))
USABLE_ACCURACY_PERCENT = 50.0
TARGETS = (0.90, 0.95, 0.99)


@dataclass(frozen=True)
class Benchmark:
    """One device's problem.

    Attributes:
        table: The published figures.
        column: Of the latency.
    """

    table: Table
    column: str

    @cached_property
    def evaluate(self) -> TabularEvaluator:
        return TabularEvaluator(self.table, latency=self.column)

    @cached_property
    def _scale(self) -> tuple[FloatArray, FloatArray, float]:
        values = self.evaluate.objectives(("error", "latency_ms"))
        values = values[values[:, 0] < 100.0 - USABLE_ACCURACY_PERCENT]
        ideal, worst = values.min(axis=0), np.quantile(values, 0.95, axis=0)
        return ideal, worst, area(normalised(values, ideal, worst))

    @property
    def true_area(self) -> float:
        return self._scale[2]

    @property
    def reference(self) -> FloatArray:
        return self._scale[1]

    @cached_property
    def _metrics(self) -> FloatArray:
        return self.evaluate.objectives(("error", "latency_ms"))

    def values(self, codes: IntArray) -> FloatArray:
        """Returns error and latency of codes, (N, 2)."""
        return self._metrics[self.table.rows(codes)]

    def curve(self, values: FloatArray) -> FloatArray:
        """Returns the share of the true hypervolume after each of these evaluations, (N,)."""
        ideal, worst, whole = self._scale
        points = normalised(values, ideal, worst)
        shares, best, last = np.empty(len(points)), np.empty((0, 2)), 0.0
        for index, point in enumerate(points):
            if (point < 1).all() and not (best <= point).all(axis=1).any():
                best = np.concatenate([best, point[None]])
                best = best[non_dominated(best)]
                last = area(best) / whole
            shares[index] = last
        return shares

    def problem(self, seed: int, *, latency_known: bool) -> Problem:
        """Returns what a searcher is given, composed as `nas search` does for a supernet."""
        models = [TabularLatency(self.table, self.column)] if latency_known else []
        return Problem(
            space=SPACE, objectives=OBJECTIVES, screen=everything, seed=seed,
            known=known_objectives(models, ("error", "latency_ms")),
            features=code_features(SPACE, models),
            features_of={"latency_ms": SPACE.built_features}, predictor=make_predictor)


def everything(codes: IntArray) -> Screening:
    """Lets all pass."""
    return Screening(np.ones(len(codes), dtype=np.bool_), {})


def normalised(values: FloatArray, ideal: FloatArray, worst: FloatArray) -> FloatArray:
    """Returns values with the ideal at 0 and the worst at 1; latency not below 0."""
    points = (values - ideal) / (worst - ideal)
    points[:, 1] = np.maximum(points[:, 1], 0.0)
    return np.asarray(points)


def area(points: FloatArray) -> float:
    """Returns the hypervolume of points (N, 2) up to (1, 1)."""
    return hypervolume(points, np.ones(2))


def benchmarks() -> dict[str, Benchmark]:
    """Returns the devices of the reference."""
    table = read_table(TABLE)
    return {name: Benchmark(table, column) for name, column in DEVICES.items()}


def until(curve: Sequence[float], target: float) -> int | None:
    """Returns how many evaluations a share of the hypervolume took, or None if it was not got."""
    got = np.flatnonzero(np.asarray(curve) >= target)
    return int(got[0]) + 1 if got.size else None


