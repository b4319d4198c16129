"""Evaluators that workers can import, of a space of one gene; some take their worker with them."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.arch import Arch
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Executor, Screening
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.trial import Trial
from nas.core.types import FloatArray, IntArray
from nas.search.driver import drive
from nas.search.evolution import EarlyExitEvolution
from nas.search.ledger import Ledger, open_ledger

SPACE = GeneSpace("line/1", (Gene("a", tuple(range(40))),))


def trials(count: int) -> list[Trial]:
    archs = SPACE.decode(np.arange(count, dtype=np.int16)[:, None])
    return [Trial(number, arch) for number, arch in enumerate(archs)]


def value_of(arch: Arch) -> int:
    value = arch.as_dict()["a"]
    assert isinstance(value, int)
    return value


@dataclass
class Plain:
    """Knows its process, fails in two ways at 2 and 3, and gives what nobody can send at 5."""

    def __call__(self, arch: Arch) -> Mapping[str, Any]:
        value = value_of(arch)
        if value == 2:
            raise ValueError("first line\n  second line")
        if value == 3:
            raise RuntimeError
        metrics: dict[str, Any] = {"error": float(value), "pid": os.getpid()}
        return {**metrics, "error": lambda: 0} if value == 5 else metrics


@dataclass
class Deadly:
    """Ends its worker at some values: each as often as the folder does not say so yet.

    Attributes:
        folder: Gets a file for each death.
        deaths: Value → how many times. The last of them is leaving with exit code 7, those before
            are by SIGKILL.
    """

    folder: Path
    deaths: Mapping[int, int]

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        value = value_of(arch)
        for death in range(self.deaths.get(value, 0)):
            try:
                (self.folder / f"{value}-{death}").touch(exist_ok=False)
            except FileExistsError:
                continue
            if death == self.deaths[value] - 1:
                os._exit(7)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"error": float(value)}


@dataclass
class Slow:
    """Takes some seconds and says so in a folder before it does.

    Attributes:
        folder: Gets a file by the name of the value, with the process's number.
        seconds: For each value, else the default of 0.
    """

    folder: Path
    seconds: Mapping[int, float]

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        value = value_of(arch)
        partly = self.folder / f"{value}.part"
        partly.write_text(str(os.getpid()))
        partly.rename(self.folder / str(value))
        time.sleep(self.seconds.get(value, 0.0))
        return {"error": float(value)}


@dataclass
class Sleeping:
    """Takes some seconds, of which none is computing."""

    seconds: float

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        time.sleep(self.seconds)
        return {"error": float(value_of(arch))}


@dataclass
class Interrupting:
    """Is stopped by hand at 1."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        if value_of(arch) == 1:
            raise KeyboardInterrupt
        return {"error": 0.0}


@dataclass
class Heavy:
    """Holds an array and reads all of it; gives its sum and the worker's own memory in bytes."""

    numbers: np.ndarray

    def __call__(self, _: Arch) -> Mapping[str, float]:
        own = next(line for line in Path("/proc/self/status").read_text().splitlines()
                   if line.startswith("RssAnon"))
        return {"error": float(self.numbers.sum()), "own": int(own.split()[1]) * 1024}


@dataclass
class Writing:
    """Changes its own array, which must stay its own."""

    numbers: np.ndarray

    def __call__(self, _: Arch) -> Mapping[str, float]:
        self.numbers += 1
        return {"error": float(self.numbers.sum())}


@dataclass
class Variables:
    """Gives the threads that libraries will compute with once they are loaded."""

    def __call__(self, _: Arch) -> Mapping[str, float]:
        return {"error": float(os.environ["OMP_NUM_THREADS"])}


@dataclass
class Threads:
    """Gives the threads that torch computes with."""

    def __call__(self, _: Arch) -> Mapping[str, float]:
        import torch

        return {"error": float(torch.get_num_threads())}


class Unpicklable:
    """Refuses to be sent."""

    def __call__(self, _: Arch) -> Mapping[str, float]:
        return {"error": 0.0}

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle\n a lock")


class Unloadable:
    """Can be sent, and not be received."""

    def __call__(self, _: Arch) -> Mapping[str, float]:
        return {"error": 0.0}

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ModuleNotFoundError("no module of that name")


class DyingAsItLoads(Unloadable):
    """Takes each worker with it before its first trial."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


TOY = GeneSpace("toy/1", (
    Gene("depth", (1, 2, 3)),
    *(Gene(f"width{i}", (8, 16, 24, 32), Condition("depth", (2, 3) if i == 1 else (3,))
           if i else None) for i in range(3)),
    *(Gene(f"kernel{i}", (3, 5, 7)) for i in range(3))))


def _size(codes: IntArray) -> FloatArray:
    return np.asarray(((codes + 1.0) * TOY.active(codes)).sum(axis=1))


def _screen(codes: IntArray) -> Screening:
    passed = _size(codes) <= 14
    return Screening(passed, {"size": int((~passed).sum())})


def toy_problem(seed: int) -> Problem:
    """The problem of the searchers' tests, of 2,268 architectures and one early exit."""
    return Problem(space=TOY, screen=_screen, seed=seed, objectives=(
        Objective("error", "%"), Objective("speed", "1/s", "maximize")))


@dataclass
class Toy:
    """Its evaluation, which takes from 0 to some seconds, so that trials finish in another order.

    Attributes:
        slow_s: The longest.
    """

    slow_s: float = 0.0

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        if arch.as_dict()["kernel0"] == 7:
            raise RuntimeError("out of memory")
        size = float(_size(TOY.encode([arch]))[0])
        texture = int(arch.digest, 16) % 97 / 97
        time.sleep(self.slow_s * texture)
        return {"error": 100 / size + texture, "speed": 1 / size, "size": size}


@dataclass
class Unusable(Toy):
    """Gives no number, and misses an objective, in some places."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        metrics = dict(super().__call__(arch))
        match arch.as_dict()["kernel1"]:
            case 3:
                metrics["error"] = np.nan
            case 5:
                del metrics["speed"]
        return metrics


@dataclass
class Marked(Toy):
    """Says in a folder which processes evaluate.

    Attributes:
        folder: Gets a file by the number of each.
    """

    folder: Path = Path()

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        (self.folder / str(os.getpid())).touch()
        return super().__call__(arch)


def kill_at_random(folder: Path, seed: int, stop: threading.Event, *, every_s: float) -> int:
    """Kills one of the processes of a folder now and then until told to stop; returns how many."""
    rng, kills = np.random.default_rng(seed), 0
    while not stop.wait(rng.uniform(0, 2 * every_s)):
        pids = sorted(folder.iterdir())
        if pids:
            victim = pids[rng.integers(len(pids))]
            victim.unlink()
            with suppress(ProcessLookupError):
                os.kill(int(victim.name), signal.SIGKILL)
                kills += 1
    return kills


def search(executor: Executor, storage: Path, *, seed: int, evaluate: Evaluator,
           budget: int = 24, batch_size: int = 6) -> Ledger:
    """Runs evolution on the toy problem to its end, or goes on with what the storage has."""
    problem = toy_problem(seed)
    ledger = open_ledger(storage, space=TOY, objectives=problem.objectives,
                         identity={"seed": seed})
    drive(EarlyExitEvolution(problem, budget=budget), executor, evaluate, ledger, budget=budget,
          batch_size=batch_size)
    return ledger
