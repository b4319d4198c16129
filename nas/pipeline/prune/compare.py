"""The use-case of `nas prune --compare`: every method on one network, at one budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import DataError, InputError, ProfileError
from nas.core.files import replace_file
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.prune.folder import LABELS, TEACHER, write_json
from nas.pipeline.prune.page import comparison_page
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.prune.run import opened, require_met
from nas.pipeline.prune.session import Session


@dataclass(frozen=True, slots=True)
class Compared:
    """Pruned networks of several methods.

    Attributes:
        folder: Of the work.
        payload: The contents of ``compare.json``.
    """

    folder: Path
    payload: Mapping[str, Any]


def compare_methods(request: PruneRequest, *, watch: Watcher = silent) -> Compared:
    """Prunes one network by several methods, to one budget, each trained for as many epochs.

    Each network is trained twice: with and without what the unpruned one teaches. What has been
    done for one method alone is not done again.

    Raises:
        InputError, EvaluationError, ExportError, BudgetMissed, DiskError, RunInterrupted: As
            `nas.pipeline.prune.run.prune`.
    """
    with opened(request, watch) as session:
        rows = []
        for done, name in enumerate(request.methods):
            watch(Event("compare", done, len(request.methods), name))
            rows.append(_row(session, name))
        if all("error" in row for row in rows):
            raise InputError(f"no method reaches the budget; {rows[0]['method']}: "
                             f"{rows[0]['error']}")
        watch(Event("compare", len(rows), len(rows)))
        folder = session.work.folder
        payload = _payload(session, rows)
        write_json(folder.comparison, payload)
        replace_file(folder.comparison_report, comparison_page(payload).encode())
        found = Compared(folder.path, payload)
    require_met([row for row in rows if "error" not in row], found)
    return found


def _row(session: Session, name: str) -> dict[str, Any]:
    try:
        session.choice(name)
    except (DataError, ProfileError):  # nothing that another method would be better at
        raise
    except InputError as error:
        return {"method": name, "error": str(error)}
    taught = session.result(name, TEACHER)
    alone = session.result(name, LABELS)
    kept = ("method", "before", "after", "latency", "latency_kind", "slower", "aligned", "budget",
            "device", "digest", "bundle", "versions", "seed", "epochs")
    return {**{key: taught[key] for key in kept}, "bundle_no_kd": alone["bundle"],
            "accuracy": {"before": taught["accuracy"]["before"],
                         "kd": taught["accuracy"]["after"],
                         "no_kd": alone["accuracy"]["after"]}}


def _payload(session: Session, rows: list[dict[str, Any]]) -> dict[str, Any]:
    request = session.work.request
    before = next(row for row in rows if "error" not in row)
    common = ("device", "latency_kind", "seed", "epochs", "versions")
    return {
        "model": request.model, "budget": {**before["budget"], "found": None},
        "unpruned": {**before["before"], "accuracy": before["accuracy"]["before"]},
        "fresh": request.fresh, **{key: before[key] for key in common},
        "methods": [{key: value for key, value in row.items()
                     if key not in (*common, "before", "budget")} for row in rows]}
