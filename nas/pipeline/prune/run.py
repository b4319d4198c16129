"""The use-case of `nas prune`: a network and a budget → a plain, smaller network."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import DiskError, InputError, MeasurementError, RunInterrupted
from nas.core.files import os_error_line, replace_file
from nas.core.locks import locked
from nas.pipeline.events import Watcher, silent
from nas.pipeline.prune.folder import LABELS, TEACHER, PruneDir, write_json
from nas.pipeline.prune.latency import latency_line
from nas.pipeline.prune.methods import method_entry
from nas.pipeline.prune.page import prune_page
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.prune.session import Session
from nas.pipeline.prune.work import prepare


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned network.

    Attributes:
        folder: Of the work.
        bundle: Of the network.
        payload: The contents of ``prune.json``.
    """

    folder: Path
    bundle: Path
    payload: Mapping[str, Any]


class BudgetMissed(MeasurementError):
    """The exported network measures short of what pruning is for.

    A latency budget is missed, or a network within another budget is slower than the unpruned one.

    Attributes:
        result: What was made all the same: a `Pruned` or a `Compared`.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


def prune(request: PruneRequest, *, watch: Watcher = silent) -> Pruned:
    """Prunes a network to a budget, trains and exports the result.

    Each step keeps what it has made in the folder; the same request goes on after the last one.

    Raises:
        InputError: A budget that cannot be reached, unusable data or weights, or a folder that
            holds something else.
        EvaluationError: A loss that is not finite, or not enough memory.
        ExportError: The network does not pass its checks.
        BudgetMissed: A latency budget that is missed by more than 5 %, or a network that is
            slower than the unpruned one; the bundle is kept.
        DiskError: A file cannot be written.
        RunInterrupted: Ctrl-C.
    """
    if request.compare:
        raise InputError("a comparison of methods is no one network: use compare_methods, or leave "
                         "--compare out")
    with opened(request, watch) as session:
        payload = session.result(request.method, TEACHER if request.kd else LABELS)
        folder = session.work.folder
        write_json(folder.result, payload)
        replace_file(folder.report, prune_page(payload).encode())
        found = Pruned(folder.path, Path(payload["bundle"]), payload)
    require_met([payload], found)
    return found


@contextmanager
def opened(request: PruneRequest, watch: Watcher) -> Iterator[Session]:
    """Holds the folder of a request and gives its session.

    Raises:
        InputError: A method that cannot be imported, or as `nas.pipeline.prune.work.prepare`.
        RunInterrupted: In place of a KeyboardInterrupt.
        DiskError: In place of an OSError.
    """
    for name in request.methods:
        method_entry(name).resolve()  # fails before anything is trained
    folder = PruneDir(request.out)
    again = f"the same command goes on after the last step that is kept in {folder.path}"
    try:
        folder.check(request)
        is_new = not folder.path.exists()
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(folder.path, "pruning"):
                yield Session(work=prepare(request, folder, watch), watch=watch)
        finally:
            if is_new:
                with suppress(OSError):  # nothing was kept in it, or it is not empty
                    folder.path.rmdir()
    except KeyboardInterrupt:
        raise RunInterrupted(f"pruning stopped; {again}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, and {again}") from None


def require_met(payloads: Sequence[Mapping[str, Any]], result: Any) -> None:
    """Checks what was measured: against a latency budget, or else against the unpruned network.

    Raises:
        BudgetMissed: One of the results misses the budget, or is slower than the unpruned network.
    """
    missed = [payload for payload in payloads
              if payload["latency"] is not None and payload["latency"]["met"] is False]
    slower = [payload for payload in payloads if payload["latency"] is None and payload["slower"]]
    if slower:
        lines = "; ".join(
            f"{payload['method']}: measured {payload['after']['latency_ms']:.4g} ms, unpruned "
            f"{payload['before']['latency_ms']:.4g} ms" for payload in slower)
        raise BudgetMissed(
            f"pruned, but slower than before ({lines}); bound --max-latency-ms, or give another "
            f"--multiple, with another --out; its bundle is {shlex.quote(slower[0]['bundle'])}",
            result)
    if missed:
        lines = "; ".join(f"{payload['method']}: {latency_line(payload['latency'])}"
                          for payload in missed)
        raise BudgetMissed(
            f"the latency budget is missed by more than {missed[0]['latency']['tolerance']:.0%} "
            f"({lines}); measure again on a quiet machine with another --out, or ask for what "
            f"this network can be; its bundle is {shlex.quote(missed[0]['bundle'])}", result)
