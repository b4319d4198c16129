"""Searchers of other libraries, run plainly on a tabular problem: what they evaluate, in order."""

import warnings
from collections.abc import Callable

import numpy as np
import optuna
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from nas.core.space import GeneSpace
from nas.core.types import CODE_DTYPE, FloatArray, IntArray

Look = Callable[[IntArray], FloatArray]  # codes (N, genes) → objectives (N, 2)
Peer = Callable[[GeneSpace, Look, int, int], FloatArray]  # space, look, cap, seed → (≤ cap, 2)


class _Seen:
    """Objectives of the different codes that were looked at, in the order of their first look."""

    def __init__(self, look: Look, cap: int) -> None:
        self._look = look
        self.cap = cap
        self._known: dict[bytes, FloatArray] = {}

    def __call__(self, codes: IntArray) -> FloatArray:
        codes = np.ascontiguousarray(codes, dtype=CODE_DTYPE)
        for row in codes:
            if row.tobytes() not in self._known:
                self._known[row.tobytes()] = self._look(row[None])[0]
        return np.array([self._known[row.tobytes()] for row in codes])

    @property
    def full(self) -> bool:
        return len(self._known) >= self.cap

    def values(self) -> FloatArray:
        return np.array(list(self._known.values()))[:self.cap]


def pymoo_peer(make: Callable[..., Algorithm]) -> Peer:
    """Returns one of pymoo's algorithms on integers."""

    def run(space: GeneSpace, look: Look, cap: int, seed: int) -> FloatArray:
        seen = _Seen(look, cap)

        class Tabular(PymooProblem):
            def __init__(self) -> None:
                super().__init__(n_var=len(space.genes), n_obj=2, vtype=int, xl=0,
                                 xu=np.array([len(gene.choices) - 1 for gene in space.genes]))

            def _evaluate(self, x: IntArray, out: dict[str, FloatArray], *args: object,
                          **kwargs: object) -> None:
                del args, kwargs
                out["F"] = seen(x)

        algorithm = make(sampling=IntegerRandomSampling(), eliminate_duplicates=True,
                         crossover=SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair()),
                         mutation=PM(eta=20, vtype=float, repair=RoundingRepair()))
        algorithm.setup(Tabular(), termination=("n_gen", 100_000), seed=seed, verbose=False)
        idle = 0
        while not seen.full and idle < 200:
            before = len(seen.values())
            algorithm.next()
            idle = idle + 1 if len(seen.values()) == before else 0
        return seen.values()

    return run


def optuna_peer(make: Callable[[int], optuna.samplers.BaseSampler], asks: int = 20) -> Peer:
    """Returns one of Optuna's samplers on categories, asked and told plainly.

    It ends after ``asks`` trials per network that it may look at: samplers repeat themselves.
    """

    def run(space: GeneSpace, look: Look, cap: int, seed: int) -> FloatArray:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seen = _Seen(look, cap)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(directions=["minimize"] * 2, sampler=make(seed))
            for _ in range(asks * cap):
                if seen.full:
                    break
                trial = study.ask()
                code = [trial.suggest_categorical(gene.name, range(len(gene.choices)))
                        for gene in space.genes]
                study.tell(trial, seen(np.array([code]))[0].tolist())
        return seen.values()

    return run


PEERS: dict[str, Peer] = {
    "pymoo NSGA-II 20": pymoo_peer(lambda **operators: NSGA2(pop_size=20, **operators)),
    "pymoo SMS-EMOA 50": pymoo_peer(lambda **operators: SMSEMOA(pop_size=50, **operators)),
    "Optuna NSGA-II 20": optuna_peer(
        lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed)),
    # It repeats itself: 1,000 new networks would take it many thousands of ever slower trials.
    "Optuna TPE": optuna_peer(lambda seed: optuna.samplers.TPESampler(seed=seed), asks=2),
}
