"""From a budget to an architecture: the method's choice, moved until it *measures* right."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from hardware_profiles.table import METRIC as LATENCY
from nas.core.arch import Arch
from nas.core.errors import InputError, NasError
from nas.core.registry import resolve
from nas.pipeline.devices import HOST
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.aligning import tried_networks
from nas.pipeline.prune.folder import read_json, write_json
from nas.pipeline.prune.measuring import Measured, measure_networks
from nas.pipeline.prune.methods import method_entry
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget
from supernets.tas.subject import Subject

TRIES = 8  # limits that the method chooses for, until a network measures near the target
NEAR = 0.02  # of the limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruner:
    """A method that is ready to choose.

    Attributes:
        choose: Budget → architecture within it; InputError where it cannot be reached.
        inherit: Architecture → the weights that the method has for that network; None: it has
            none, and networks inherit slices of the unpruned one.
    """

    choose: Callable[[Budget], Arch]
    inherit: Callable[[Arch], Mapping[str, Tensor]] | None = None


class MakePruner(Protocol):
    """A method that trains: it is given all there is."""

    def __call__(self, work: Work, budget: Budget, *, name: str, watch: Watcher) -> Pruner:
        """Returns the method, ready to choose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a method has chosen.

    Attributes:
        arch: The architecture.
        predicted: Its cost, as the method counted.
        limit: That the method was given at last: where latency is bounded, corrected by what
            networks measured.
        tries: Networks that were measured on the way.
        aligned: The multiple that widths were moved to, because as the method chose them the
            network was not faster than the unpruned one; None: they are as it chose them.
        shares: Such a multiple, and the latency of the network with such widths as a part of the
            unpruned one's, for each that was measured.
    """

    arch: Arch
    predicted: float
    limit: float
    tries: int = 0
    aligned: int | None = None
    shares: tuple[tuple[int | None, float], ...] = ()


def make_pruner(work: Work, name: str, budget: Budget, watch: Watcher) -> Pruner:
    """Returns a method, ready to choose; one that trains is trained now.

    Raises:
        InputError: There is no such method, or it cannot prune this network.
        EvaluationError: A loss that is not finite, or not enough memory.
    """
    entry = method_entry(name)
    method: Any = entry.resolve()
    if entry.info.get("needs") == "work":
        made: Pruner = method(work, budget, name=name, watch=watch)
        return made
    return Pruner(choose=lambda asked: _asked(name, method, Subject(
        supernet=work.supernet, budget=asked, seed=work.request.seed)))


def _asked(name: str, method: Any, subject: Subject) -> Arch:
    # A method may be a third party's, or anything that was named as module:attribute.
    try:
        found = method(subject)
    except NasError:
        raise
    except Exception as error:
        raise InputError(f"method {name!r} failed ({type(error).__name__}: {error}); --debug shows "
                         "where") from error
    if not isinstance(found, Arch):
        raise InputError(f"{name!r} is no method of pruning: it gave a {type(found).__name__}, "
                         "not an architecture; see supernets.tas.subject")
    arch = subject.supernet.space.canonical(found)
    if subject.budget.cost.of(arch) > subject.budget.limit:
        raise InputError(f"method {name!r} gave a network that is above the budget: "
                         f"{subject.budget.cost.of(arch):,.6g} {subject.budget.cost.metric}, not "
                         f"{subject.budget.limit:,.6g} or less")
    return arch


def work_for(work: Work, name: str) -> Work:
    """Returns the work in the space of a method, which may need one of its own.

    Raises:
        InputError: There is no such method, or it finds nothing to prune.
    """
    make = method_entry(name).info.get("space")
    if make is None:
        return work
    found: Work = resolve(make)(work)
    return found


def chosen(work: Work, name: str, budget: Budget, pruner: Callable[[], Pruner],
           unpruned: Callable[[], Path], watch: Watcher) -> Choice:
    """Returns the choice of a method; it is kept, and made once.

    Where latency on this machine is bounded, networks are measured: what one takes longer than
    predicted is taken off the limit, and the method chooses again. Where something else is bounded
    and the multiple of widths is not, one that does not measure faster than the unpruned network
    is moved to widths that are larger multiples: see `nas.pipeline.prune.aligning`.

    Args:
        work: What is pruned.
        name: Of the method.
        budget: To be met.
        pruner: Gives the method.
        unpruned: Gives the unpruned network's ONNX file.
        watch: Is told of every step.

    Raises:
        InputError: The budget cannot be reached.
        DataError: What was kept is damaged.
        OSError: The choice cannot be kept.
    """
    path, space = work.folder.choice(name), work.supernet.space
    kept = read_json(path)
    if kept is not None:
        return Choice(arch=Arch.from_json(kept["arch"], space=space), predicted=kept["predicted"],
                      limit=kept["limit"], tries=kept["tries"],
                      # Earlier versions moved nothing, and wrote neither.
                      aligned=kept.get("aligned"),
                      shares=tuple((multiple, share) for multiple, share in kept.get("shares", ())))
    watch(Event(f"choose {name}", 0, 1))
    found = _choice(work, name, budget, pruner(), unpruned, watch)
    write_json(path, {"arch": found.arch.to_json(), "predicted": found.predicted,
                      "limit": found.limit, "tries": found.tries, "aligned": found.aligned,
                      "shares": found.shares})
    watch(Event(f"choose {name}", 1, 1))
    return found


def _choice(work: Work, name: str, budget: Budget, method: Pruner,
            unpruned: Callable[[], Path], watch: Watcher) -> Choice:
    request = work.request
    if request.metric == LATENCY and request.device == HOST:
        return _measured_choice(work, name, budget, method, watch)
    arch = method.choose(budget)
    if request.metric == LATENCY or request.multiple is not None:
        return Choice(arch=arch, predicted=budget.cost.of(arch), limit=budget.limit)
    tried = tried_networks(work, name, budget, arch, unpruned, watch)
    fastest = min(tried, key=lambda one: one.share)
    return Choice(arch=fastest.arch, predicted=budget.cost.of(fastest.arch), limit=budget.limit,
                  tries=len(tried), aligned=fastest.aligned,
                  shares=tuple((one.aligned, one.share) for one in tried))


def _measured_choice(work: Work, name: str, budget: Budget, method: Pruner, watch: Watcher
                     ) -> Choice:
    target, limit, seen = budget.limit, budget.limit, dict[Arch, float]()
    below, above = 0.0, math.inf  # limits whose networks measured so
    best: tuple[float, Choice] | None = None
    for tries in range(1, TRIES + 1):
        try:
            arch = method.choose(replace(budget, limit=limit))
        except InputError:
            if best is None:
                raise
            break  # the corrected limit is beyond the space
        if arch not in seen:
            seen[arch] = _measure(work, arch, tries).latency_ms
            watch(Event(f"choose {name}", 0, 1, f"predicted {budget.cost.of(arch):.4g} ms, "
                                                f"measured {seen[arch]:.4g} ms"))
        off = abs(seen[arch] / target - 1.0)
        if best is None or off < best[0]:
            best = off, Choice(arch=arch, predicted=budget.cost.of(arch), limit=limit)
        if off <= NEAR:
            break
        below, above = (max(below, limit), above) if seen[arch] < target else (
            below, min(above, limit))
        limit *= target / seen[arch]
        if not below < limit < above:
            # Networks come in steps: what is near may lie between two that are far on both sides.
            limit = math.sqrt(below * above)
    assert best is not None
    return replace(best[1], tries=len(seen))


def _measure(work: Work, arch: Arch, tries: int) -> Measured:
    found = measure_networks({"network": work.supernet.extract(arch)}, work.opened.task,
                             threads=work.request.threads, seed=work.request.seed + tries)
    return found["network"]
