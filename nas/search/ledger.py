"""The ledger of a search: an Optuna study that holds every finished trial.

So `optuna-dashboard` and Optuna's plots work on it as it is. A trial is written once, when it is
finished; its user attributes are ``nas:trial_id``, ``nas:digest``, ``nas:arch`` (JSON text),
``nas:stage``, ``nas:metrics``, ``nas:error`` if it failed, and ``nas:batch`` on a batch's last
trial.
"""

import itertools
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.core.arch import Arch
from nas.core.errors import ArchError, LedgerError
from nas.core.problem import Objective
from nas.core.space import SearchSpace
from nas.core.trial import Outcome, Trial
from nas.search.journal import open_journal, read_journal

STUDY_NAME = "nas"

_IDENTITY = "nas:identity"
_ATTRIBUTES = {"nas:trial_id": int, "nas:digest": str, "nas:arch": str, "nas:metrics": dict,
               "nas:stage": str, "nas:error": str | None}
_RESTORE = "restore it from a copy"


class Ledger:
    """The finished trials of one search. Made by `open_ledger` and `read_ledger`.

    Attributes:
        study: For Optuna's own tools.
        objectives: In the order of the study's values.
        where: Path or URL, for messages.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, objectives: Sequence[Objective],
                 where: str) -> None:
        self.study = study
        self.objectives = tuple(objectives)
        self.where = where
        self._space = space
        self._distributions = {gene.name: CategoricalDistribution(gene.choices)
                               for gene in space.genes}

    def record(self, outcome: Outcome, *, batch: Mapping[str, Any] | None = None) -> None:
        """Writes one finished trial; on return it is on the disk.

        Args:
            outcome: Its metrics hold every objective, or it failed.
            batch: The record of its batch, on the batch's last trial: JSON values.

        Raises:
            LedgerError: The storage cannot be written.
        """
        attributes: dict[str, Any] = {
            "nas:trial_id": outcome.trial.id, "nas:digest": outcome.trial.arch.digest,
            "nas:arch": outcome.trial.arch.to_json(), "nas:stage": outcome.stage,
            "nas:metrics": dict(outcome.metrics)}
        if outcome.error is not None:
            attributes["nas:error"] = outcome.error
        if batch is not None:
            attributes["nas:batch"] = dict(batch)
        live = self._space.active(self._space.encode([outcome.trial.arch]))[0]
        params = {name: value for (name, value), used in
                  zip(outcome.trial.arch.choices, live, strict=True) if used}
        trial = create_trial(
            state=TrialState.COMPLETE if outcome.ok else TrialState.FAIL,
            values=[outcome.metrics[o.name] for o in self.objectives] if outcome.ok else None,
            params=params, distributions={name: self._distributions[name] for name in params},
            user_attrs=attributes)
        with _writing(self.where):
            self.study.add_trial(trial)

    def outcomes(self) -> list[Outcome]:
        """Returns every finished trial, sorted by id.

        Raises:
            LedgerError: A trial is not of this space, contradicts its digest or is there twice.
        """
        outcomes = sorted(map(self._outcome, self._trials()), key=lambda o: o.trial.id)
        for before, after in itertools.pairwise(outcomes):
            if before.trial.id == after.trial.id:
                raise LedgerError(f"ledger {self.where} has trial {after.trial.id} twice; two "
                                  "searches wrote to it at once")
        return outcomes

    def batches(self) -> dict[int, dict[str, Any]]:
        """Returns the batch records by the id of the trial that carries them."""
        records = {trial.user_attrs["nas:trial_id"]: trial.user_attrs["nas:batch"]
                   for trial in self._trials() if "nas:batch" in trial.user_attrs}
        for number, record in records.items():
            if not isinstance(record, dict):
                raise LedgerError(f"ledger {self.where}, trial {number}: its batch record is "
                                  f"{record!r}; {_RESTORE}")
        return records

    def _trials(self) -> Iterator[FrozenTrial]:
        trials = self.study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        return (trial for trial in trials if "nas:trial_id" in trial.user_attrs)

    def _outcome(self, trial: FrozenTrial) -> Outcome:
        found = trial.user_attrs
        number = found["nas:trial_id"]
        wrong = [f"{name} is {found.get(name)!r}" for name, kind in _ATTRIBUTES.items()
                 if not isinstance(found.get(name), kind)]
        if not wrong and not all(isinstance(value, int | float)
                                 for value in found["nas:metrics"].values()):
            wrong = [f"metrics {found['nas:metrics']} are not all numbers"]
        if not wrong and trial.state is TrialState.COMPLETE and trial.values != [
                found["nas:metrics"].get(objective.name) for objective in self.objectives]:
            wrong = [f"values {trial.values} are not its metrics {found['nas:metrics']}"]
        if wrong:
            raise LedgerError(f"ledger {self.where}, trial {number}: {wrong[0]}; {_RESTORE}")
        try:
            arch = Arch.from_json(found["nas:arch"], space=self._space)
        except ArchError as error:
            raise LedgerError(f"ledger {self.where}, trial {number}: {error}; {_RESTORE}") from None
        if arch.digest != found["nas:digest"]:
            raise LedgerError(f"ledger {self.where}, trial {number}: digest {found['nas:digest']} "
                              f"is not that of its architecture; {_RESTORE}")
        return Outcome(Trial(number, arch), found["nas:metrics"], found["nas:stage"],
                       found.get("nas:error"))


def open_ledger(storage: Path | str, *, space: SearchSpace, objectives: Sequence[Objective],
                identity: Mapping[str, Any], study_name: str = STUDY_NAME) -> Ledger:
    """Returns the ledger of a search, new or to be continued.

    Args:
        storage: A journal file, or any Optuna storage URL.
        space: Whose architectures it holds.
        objectives: The study's directions and metric names.
        identity: What must be equal for a ledger to be continued, such as searcher, seed and
            budget: JSON values. Space and objectives are added to it.
        study_name: Of the Optuna study.

    Raises:
        LedgerError: The storage cannot be used, or the study is another search's: the message
            says what differs.
    """
    where = shown(storage)
    wanted = _identity(space, objectives, identity)
    with _quiet(), _writing(where):
        backend = _backend(storage, where, write=True)
        study = optuna.create_study(
            storage=backend, study_name=study_name, load_if_exists=True,
            directions=[objective.direction for objective in objectives])
        found = study.user_attrs.get(_IDENTITY)
        # A study without identity and trials is new, or was cut off while being made.
        same = [direction.name.lower() for direction in study.directions] == [
            objective.direction for objective in objectives]
        if found is None and same and not study.get_trials(deepcopy=False):
            study.set_metric_names([objective.name for objective in objectives])
            study.set_user_attr(_IDENTITY, wanted)
            found = wanted
    _check_identity(found, wanted, where)
    return Ledger(study, space, objectives, where)


def read_ledger(storage: Path | str, *, space: SearchSpace, objectives: Sequence[Objective],
                study_name: str = STUDY_NAME) -> Ledger:
    """Returns an existing ledger of this space and these objectives, to read from.

    Raises:
        LedgerError: There is none, or it is of another space or has other objectives.
    """
    where = shown(storage)
    with _quiet():
        backend = _backend(storage, where, write=False)
        try:
            study = optuna.load_study(storage=backend, study_name=study_name)
        except KeyError:
            raise LedgerError(f"ledger {where} has no study {study_name!r}") from None
    found = study.user_attrs.get(_IDENTITY, {})
    wanted = _identity(space, objectives, {})
    _check_identity({key: found.get(key) for key in wanted}, wanted, where)
    return Ledger(study, space, objectives, where)


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
    """What a ledger holds: trials sorted by id, and the searcher's counts after the last batch."""

    trials: Sequence[RecordedTrial] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def read_record(storage: Path | str, *, study_name: str = STUDY_NAME) -> Record | None:
    """Returns the finished trials of a ledger whose space need not be at hand, or None.

    None means that there is no such study, which is so until a search has made it.

    Raises:
        LedgerError: The storage cannot be read, or a trial is not of this program or contradicts
            its digest.
    """
    where = shown(storage)
    with _quiet():
        backend = _backend(storage, where, write=False)
        try:
            study = optuna.load_study(storage=backend, study_name=study_name)
        except KeyError:
            return None
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    mine = [trial for trial in trials if "nas:trial_id" in trial.user_attrs]
    try:
        recorded = sorted((_recorded(trial) for trial in mine), key=lambda r: r.outcome.trial.id)
        batches = {int(trial.user_attrs["nas:trial_id"]): trial.user_attrs["nas:batch"]["counts"]
                   for trial in mine if "nas:batch" in trial.user_attrs}
        counts = batches[max(batches)] if batches else {}
        return Record(recorded, {str(name): int(count) for name, count in counts.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LedgerError(f"ledger {where} has a trial that is not of this program "
                          f"({_one_line(error)}); restore it from a copy") from None


def _recorded(trial: FrozenTrial) -> RecordedTrial:
    attributes = trial.user_attrs
    payload = json.loads(attributes["nas:arch"])
    arch = Arch(payload["space"], tuple(payload["choices"].items()))
    if arch.digest != attributes["nas:digest"]:
        raise ValueError(f"digest {attributes['nas:digest']} is not that of its architecture")
    metrics = {str(name): float(value) for name, value in attributes["nas:metrics"].items()}
    outcome = Outcome(Trial(int(attributes["nas:trial_id"]), arch), metrics,
                      str(attributes["nas:stage"]), attributes.get("nas:error"))
    return RecordedTrial(outcome, frozenset(trial.params), trial.datetime_complete)


def ledger_equal(a: Ledger, b: Ledger) -> bool:
    """Returns whether (id, digest, values, stage, error) agree for all trials, sorted by id."""
    return _rows(a) == _rows(b)


def _rows(ledger: Ledger) -> list[tuple[Any, ...]]:
    return [(o.trial.id, o.trial.arch.digest, o.stage, o.error,
             [o.metrics[objective.name] for objective in ledger.objectives] if o.ok else None)
            for o in ledger.outcomes()]


def _identity(space: SearchSpace, objectives: Sequence[Objective],
              identity: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**identity, "space": space.id,
             "objectives": [f"{objective.direction} {objective.name}" for objective in objectives]}
    plain: dict[str, Any] = json.loads(json.dumps(whole))  # as the storage gives it back
    return plain


def _check_identity(found: Mapping[str, Any] | None, wanted: Mapping[str, Any],
                    where: str) -> None:
    if found is None:
        raise LedgerError(f"ledger {where} holds a study that is not of this program; give "
                          "another path or storage")
    differences = [f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"
                   for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if differences:
        raise LedgerError(f"ledger {where} is of another search: {'; '.join(differences)}")


def _backend(storage: Path | str, where: str, *, write: bool) -> BaseStorage:
    if isinstance(storage, Path) or "://" not in storage:
        return open_journal(Path(storage)) if write else read_journal(Path(storage))
    try:
        return optuna.storages.get_storage(storage)
    except Exception as error:  # of SQLAlchemy, its drivers and the server behind them
        raise LedgerError(f"storage {where} cannot be used ({_one_line(error)}); check the URL, "
                          "its driver and its server") from None


@contextmanager
def _writing(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, StorageInternalError) as error:
        raise LedgerError(f"ledger {where} cannot be written ({_one_line(error)}); remedy that "
                          "and resume") from None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def shown(storage: Path | str) -> str:
    """Returns the path or URL for messages: without the password that a URL may hold."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", str(storage))


@contextmanager
def _quiet() -> Iterator[None]:
    # Optuna announces each new study on stderr, and names of metrics as experimental.
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
