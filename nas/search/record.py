"""Reads a ledger by itself: what it holds, without the space that its architectures are of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from nas.core.arch import Arch
from nas.core.errors import LedgerError
from nas.core.trial import Outcome, Trial
from nas.search.entries import Stopped, finished_trials, parse_stopped
from nas.search.ledger import STUDY_NAME
from nas.search.quiet import quiet
from nas.search.storage import open_storage
from nas.search.storage_url import cause_line, shown


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """A finished trial as a ledger tells it by itself.

    Attributes:
        outcome: Its architecture is known to match its digest, not to be one of a space.
        live: The genes that matter in it.
        completed: When it was written, local time; None if the storage does not say.
    """

    outcome: Outcome
    live: frozenset[str]
    completed: datetime | None


@dataclass(frozen=True, slots=True)
class Record:
    """What a ledger holds.

    Attributes:
        trials: Sorted by id.
        counts: The searcher's, after the last batch.
        stopped: Why it ended before its budget; None if it did not.
    """

    trials: Sequence[RecordedTrial] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    stopped: Stopped | None = None


def read_record(storage: Path | str, *, study_name: str = STUDY_NAME) -> Record | None:
    """Returns the finished trials of a ledger whose space need not be at hand, or None.

    None means that there is no such study, which is so until a search has made it.

    Raises:
        LedgerError: The storage cannot be read, or a trial is not of this program or contradicts
            its digest.
    """
    where = shown(storage)
    with quiet():
        backend = open_storage(storage, write=False)
        try:
            study = optuna.load_study(storage=backend, study_name=study_name)
        except KeyError:
            return None
    mine = finished_trials(study)
    try:
        recorded = sorted((_recorded(trial) for trial in mine), key=lambda r: r.outcome.trial.id)
        batches = {int(trial.user_attrs["nas:trial_id"]): trial.user_attrs["nas:batch"]["counts"]
                   for trial in mine if "nas:batch" in trial.user_attrs}
        counts = batches[max(batches)] if batches else {}
        return Record(recorded, {str(name): int(count) for name, count in counts.items()},
                      parse_stopped(study.user_attrs, where))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LedgerError(f"ledger {where} has a trial that is not of this program "
                          f"({cause_line(error)}); restore it from a copy") from None


def _recorded(trial: FrozenTrial) -> RecordedTrial:
    attributes = trial.user_attrs
    payload = json.loads(attributes["nas:arch"])
    arch = Arch(payload["space"], tuple(payload["choices"].items()))
    if arch.digest != attributes["nas:digest"]:
        raise ValueError(f"digest {attributes['nas:digest']} is not that of its architecture")
    metrics = {str(name): float(value) for name, value in attributes["nas:metrics"].items()}
    outcome = Outcome(Trial(int(attributes["nas:trial_id"]), arch), metrics,
                      str(attributes["nas:stage"]), attributes.get("nas:error"),
                      float(attributes.get("nas:cost", 1.0)))
    return RecordedTrial(outcome, frozenset(trial.params), trial.datetime_complete)
