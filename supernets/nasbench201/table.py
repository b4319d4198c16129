"""Looking architectures up in a published table: an evaluator that costs nothing.

The table is a CSV file given by path, such as the one of `supernets.nasbench201.table_file`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.core.arch import Arch
from nas.core.costs import Estimate
from nas.core.errors import InputError
from nas.core.types import FloatArray, IntArray
from supernets.nasbench201.costs import flops, macs, params
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.table_file import Table, read_table

ACCURACY = "cifar10_test_acc_200ep"  # %, mean of the published trainings
LATENCY = "ms_gtx1080ti_b256"


class TabularEvaluator:
    """The `Evaluator` that looks architectures up; all its metrics are to be minimised.

    They are ``error`` (%, 100 − accuracy) and ``latency_ms`` of the named columns, and the closed
    forms ``params``, ``macs`` and ``flops`` of `supernets.nasbench201.costs`.

    Args:
        table: A table, or the path of a complete one.
        error: The column of the accuracy in %.
        latency: The column of the latency in ms.

    Raises:
        DataError: See `read_table`.
        InputError: No such column.
    """

    def __init__(self, table: Table | Path, *, error: str = ACCURACY,
                 latency: str = LATENCY) -> None:
        self.table = table if isinstance(table, Table) else read_table(table)
        codes = self.table.codes
        self._metrics: dict[str, FloatArray] = {
            "error": 100.0 - self.table.column(error),
            "latency_ms": self.table.column(latency),
            "params": params(codes).astype(np.float64),
            "macs": macs(codes).astype(np.float64),
            "flops": flops(codes).astype(np.float64),
        }

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the metrics of one architecture.

        Raises:
            ArchError: It is of another space.
            EvaluationError: The table does not have it.
        """
        row = int(self.table.rows(SPACE.encode([arch]))[0])
        return {name: float(values[row]) for name, values in self._metrics.items()}

    def objectives(self, metrics: Sequence[str]) -> FloatArray:
        """Returns some metrics of every row of the table, in its order, (N, len(metrics)).

        Raises:
            InputError: No such metric.
        """
        for name in metrics:
            if name not in self._metrics:
                raise InputError(f"no metric {name!r}; known: {', '.join(self._metrics)}")
        return np.column_stack([self._metrics[name] for name in metrics])


class TabularLatency:
    """The `CostModel` of searches that know the latency beforehand: the table's own column.

    Args:
        table: A table, or the path of a complete one.
        column: Of the latency in ms.

    Raises:
        DataError: See `read_table`.
        InputError: No such column.
    """

    def __init__(self, table: Table | Path, column: str = LATENCY) -> None:
        self.table = table if isinstance(table, Table) else read_table(table)
        self._latency_ms = self.table.column(column)

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return {"latency_ms": "ms"}

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the published latency of each code; lower = value = upper.

        Raises:
            InputError: A metric other than ``latency_ms``.
            EvaluationError: A code that the table does not have.
        """
        if metric != "latency_ms":
            raise InputError(f"the table knows latency_ms, not {metric!r}")
        value = self._latency_ms[self.table.rows(codes)]
        return Estimate(value, value, value, "measured")

    def block_table(self, metric: str) -> FloatArray | None:
        """Returns None: these are times of whole networks."""
        del metric
        return None
