"""Evaluators that workers can import, of a space of one gene; some take their worker with them."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.arch import Arch
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Trial

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
    """Knows its process, fails in two ways at 2 and 3, and gives what is no number at 5 and 6."""

    def __call__(self, arch: Arch) -> Mapping[str, Any]:
        value = value_of(arch)
        if value == 2:
            raise ValueError("first line\n  second line")
        if value == 3:
            raise RuntimeError
        metrics: dict[str, Any] = {"error": float(value), "pid": os.getpid()}
        return {**metrics, **{5: {"error": np.nan}, 6: {"error": lambda: 0}}.get(value, {})}


@dataclass
class Deadly:
    """Ends its worker at some values: each as often as the folder does not say so yet.

    Attributes:
        folder: Gets a file for each death.
        deaths: Value → how many times.
        signal: By which; 0: by leaving with exit code 7.
    """

    folder: Path
    deaths: Mapping[int, int]
    signal: int = signal.SIGKILL

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        value = value_of(arch)
        for death in range(self.deaths.get(value, 0)):
            try:
                (self.folder / f"{value}-{death}").touch(exist_ok=False)
            except FileExistsError:
                continue
            if self.signal:
                os.kill(os.getpid(), self.signal)
            os._exit(7)
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

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        own = next(line for line in Path("/proc/self/status").read_text().splitlines()
                   if line.startswith("RssAnon"))
        return {"error": float(self.numbers.sum()), "own": int(own.split()[1]) * 1024}


@dataclass
class Writing:
    """Changes its own array, which must stay its own."""

    numbers: np.ndarray

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        self.numbers += 1
        return {"error": float(self.numbers.sum())}


@dataclass
class Threads:
    """Gives the threads that torch computes with."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        import torch

        return {"error": float(torch.get_num_threads())}


class Unpicklable:
    """Refuses to be sent."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        return {"error": 0.0}

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle\n a lock")


class Unloadable:
    """Can be sent, and not be received."""

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        return {"error": 0.0}

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ModuleNotFoundError("no module of that name")


class DyingAsItLoads(Unloadable):
    """Takes each worker with it before its first trial."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


@dataclass
class Toy:
    """The toy problem of the tests of searchers, in a form that can be sent."""

    space: GeneSpace
    slow_s: float = 0.0
    calls: list[str] = field(default_factory=list)

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        choice: dict[str, Any] = arch.as_dict()
        if choice["kernel0"] == 7:
            raise RuntimeError("out of memory")
        codes = self.space.encode([arch])
        size = float(((codes + 1.0) * self.space.active(codes)).sum())
        texture = int(arch.digest, 16) % 97 / 97
        time.sleep(self.slow_s * texture)
        return {"error": 100 / size + texture, "speed": 1 / size, "size": size}
