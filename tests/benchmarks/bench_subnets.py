"""Validates subnets of the shipped supernet into a table that searchers can be tried on.

Random ones, and mutants of the table's front: so the table is dense where searches go. A stopped
run goes on; the table is complete at every moment.

    python tests/benchmarks/bench_subnets.py --random 700 --mutants 800
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from _report import FOLDER

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.pareto import sort_fronts
from nas.core.space import SearchSpace
from nas.core.types import FloatArray, IntArray
from nas.evaluation.inherited import InheritedEvaluator
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import keep_freed_memory, one_thread

SUPERNET = "mobilenet-fmnist"
TABLE = FOLDER / "subnets" / f"{SUPERNET}.csv"
COLUMNS = ("codes", "error", "macs")
SEED = 0
ROUND = 50  # mutants between two looks at the front


def read(path: Path = TABLE) -> tuple[IntArray, FloatArray]:
    """Returns the codes (N, genes) and error and MACs (N, 2) of the table's networks."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    codes = np.array([[int(digit, 36) for digit in row["codes"]] for row in rows], dtype=np.int16)
    return codes, np.array([[float(row["error"]), float(row["macs"])] for row in rows])


class Table:
    """The file, appended to one network at a time."""

    def __init__(self, space: SearchSpace, evaluate: InheritedEvaluator, path: Path) -> None:
        self._space = space
        self._evaluate = evaluate
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            path.write_text(",".join(COLUMNS) + "\n")
        codes, self.values = read(path) if path.stat().st_size > 20 else (None, np.empty((0, 2)))
        self.archs = [] if codes is None else space.decode(codes)
        self._known = {arch.digest for arch in self.archs}

    def add(self, arch: Arch) -> None:
        """Validates a network unless it is there already."""
        if arch.digest in self._known:
            return
        found = self._evaluate(arch)
        code = "".join(np.base_repr(digit, 36) for digit in self._space.encode([arch])[0].tolist())
        with self._path.open("a") as file:
            file.write(f"{code},{found['error']!r},{found['macs']}\n")
        self._known.add(arch.digest)
        self.archs.append(arch)
        self.values = np.concatenate([self.values, [[found["error"], found["macs"]]]])


def main() -> None:
    """Fills the table up to the numbers asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=700)
    parser.add_argument("--mutants", type=int, default=800)
    options = parser.parse_args()
    keep_freed_memory()
    supernet = load_supernet(SUPERNET)
    closed = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    evaluate = InheritedEvaluator(supernet, cost_models=[closed], metrics=["macs"])
    table = Table(supernet.space, evaluate, TABLE)
    rng = np.random.default_rng(SEED)
    with one_thread():
        for arch in supernet.space.decode(supernet.space.sample_codes(options.random, rng)):
            table.add(arch)
        while len(table.archs) < options.random + options.mutants:
            best = np.concatenate(sort_fronts(table.values)[:3])
            for row in rng.choice(best, size=ROUND):
                table.add(supernet.space.mutate(table.archs[int(row)], rng, 0.1))
            print(f"{len(table.archs)} networks", flush=True)


if __name__ == "__main__":
    main()
