"""How outcomes and an early end stand in an Optuna study; see `nas.search.ledger`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.core.errors import LedgerError
from nas.core.trial import Outcome

STOPPED = "nas:stopped"

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a search ended before its budget, and after how many trials."""

    reason: str
    after: int


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials of this program that are finished, a write made twice only once."""
    found = []
    writes = set()
    for trial in study.get_trials(deepcopy=False, states=_FINISHED):
        attributes = trial.user_attrs
        write = attributes.get("nas:write")
        if "nas:trial_id" in attributes and not is_retired(trial) and write not in writes:
            found.append(trial)
            if write is not None:
                writes.add(write)
    return found


def is_retired(trial: FrozenTrial) -> bool:
    """Returns whether this is a claim that was given up: no trial of the search."""
    return (trial.state is TrialState.FAIL and "nas:owner" in trial.user_attrs
            and "nas:error" not in trial.user_attrs)


def found_attributes(outcome: Outcome) -> dict[str, Any]:
    """Returns the user attributes that say what came of a trial."""
    attributes: dict[str, Any] = {"nas:stage": outcome.stage, "nas:metrics": dict(outcome.metrics)}
    if outcome.error is not None:
        attributes["nas:error"] = outcome.error
    if outcome.cost != 1.0:
        attributes["nas:cost"] = outcome.cost
    return attributes


def state_of(outcome: Outcome) -> TrialState:
    """Returns the state in which an outcome is written: Optuna's fronts show COMPLETE only."""
    if not outcome.ok:
        return TrialState.FAIL
    return TrialState.COMPLETE if outcome.final else TrialState.PRUNED


def parse_stopped(attributes: Mapping[str, Any], where: str) -> Stopped | None:
    """Returns what a study's user attributes say of an early end.

    Raises:
        LedgerError: Something else than this program wrote it.
    """
    found = attributes.get(STOPPED)
    if found is None:
        return None
    try:
        return Stopped(str(found["reason"]), int(found["after"]))
    except (KeyError, TypeError, ValueError):
        raise LedgerError(f"ledger {where}: the reason of its end is {found!r}; restore it from "
                          "a copy") from None
