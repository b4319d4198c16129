"""The ledger of a search: an Optuna study that holds every finished trial.

So `optuna-dashboard` and Optuna's plots work on it as it is. A trial is written once, when it is
finished: COMPLETE, FAIL, or PRUNED if it was cut short at lower fidelity. Its user attributes are
``nas:trial_id``, ``nas:digest``, ``nas:arch`` (JSON text), ``nas:stage``, ``nas:metrics``,
``nas:error`` if it failed, ``nas:cost`` if that is not 1, and ``nas:batch`` on a batch's last
trial. The study's own: ``nas:identity``, and ``nas:stopped`` if the search ended before its budget.

Where several processes share a study (`nas.search.sharing`), a trial is first claimed: it is there
as RUNNING, with ``nas:owner``. A claim that was given up is FAIL without ``nas:error``: no trial of
the search. In a database each write has a random ``nas:write``, so that one made twice counts once.
"""

import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial

from nas.core.arch import Arch
from nas.core.errors import ArchError, LedgerError
from nas.core.problem import Objective
from nas.core.space import SearchSpace
from nas.core.trial import Outcome, Trial
from nas.search.entries import (
    STOPPED,
    Stopped,
    finished_trials,
    found_attributes,
    parse_stopped,
    state_of,
)
from nas.search.quiet import quiet
from nas.search.storage import PATIENCE_S, Access, open_storage
from nas.search.storage_url import is_url, shown

STUDY_NAME = "nas"

_IDENTITY = "nas:identity"
_ATTRIBUTES = {"nas:trial_id": int, "nas:digest": str, "nas:arch": str, "nas:metrics": dict,
               "nas:stage": str, "nas:error": str | None, "nas:cost": int | float | None}
_RESTORE = "restore it from a copy"


class Ledger:
    """The finished trials of one search. Made by `open_ledger` and `read_ledger`.

    Attributes:
        study: For Optuna's own tools.
        storage: That of the study.
        objectives: In the order of the study's values.
        access: Runs what reads or writes the storage.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, space: SearchSpace,
                 objectives: Sequence[Objective], access: Access) -> None:
        self.study = study
        self.storage = storage
        self.objectives = tuple(objectives)
        self.access = access
        self._space = space
        self._is_database = is_url(access.where)
        self._distributions = {gene.name: CategoricalDistribution(gene.choices)
                               for gene in space.genes}

    @property
    def where(self) -> str:
        """Path or URL, for messages."""
        return self.access.where

    def record(self, outcome: Outcome, *, batch: Mapping[str, Any] | None = None) -> None:
        """Writes one finished trial; on return it is on the disk.

        Args:
            outcome: Its metrics hold every objective, or it failed.
            batch: The record of its batch, on the batch's last trial: JSON values.

        Raises:
            LedgerError: The storage cannot be written, or the study has been deleted.
        """
        attributes = {**self.asked(outcome.trial, batch), **found_attributes(outcome)}
        if self._is_database:
            attributes["nas:write"] = secrets.token_hex(4)
        params = self.live_params(outcome.trial.arch)
        trial = create_trial(
            state=state_of(outcome), values=self.values(outcome), params=params,
            distributions=self.distributions(params), user_attrs=attributes)
        self.access(lambda: self.study.add_trial(trial))

    def stop(self, reason: str, *, after: int) -> None:
        """Writes why the search ends before its budget.

        Args:
            reason: One line.
            after: Number of trials that it had by then; resumed, it ends there again.
        """
        self.mark(STOPPED, {"reason": reason, "after": after})

    @property
    def stopped(self) -> Stopped | None:
        """Why the search ended before its budget, or None if it did not."""
        return parse_stopped(self.marks(), self.where)

    def mark(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Sets a user attribute of the study: JSON values, or null."""
        self.access(lambda: self.study.set_user_attr(name, value))

    def marks(self) -> dict[str, Any]:
        """Returns the user attributes of the study."""
        return self.access(lambda: self.study.user_attrs)

    def asked(self, trial: Trial, batch: Mapping[str, Any] | None) -> dict[str, Any]:
        """Returns the user attributes that are known of a trial before it is run."""
        attributes: dict[str, Any] = {
            "nas:trial_id": trial.id, "nas:digest": trial.arch.digest,
            "nas:arch": trial.arch.to_json()}
        return attributes if batch is None else {**attributes, "nas:batch": dict(batch)}

    def live_params(self, arch: Arch) -> dict[str, Any]:
        """Returns Optuna's parameters of an architecture: the genes that matter in it."""
        live = self._space.active(self._space.encode([arch]))[0]
        return {name: value for (name, value), used in zip(arch.choices, live, strict=True) if used}

    def distributions(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Returns the distribution of each parameter."""
        return {name: self._distributions[name] for name in params}

    def values(self, outcome: Outcome) -> list[float] | None:
        """Returns the study's values of an outcome, or None if it failed."""
        return [outcome.metrics[o.name] for o in self.objectives] if outcome.ok else None

    def outcomes(self) -> list[Outcome]:
        """Returns every finished trial, sorted by id.

        Raises:
            LedgerError: A trial is not of this space, contradicts its digest or is there twice.
        """
        outcomes = sorted(map(self.outcome, self._trials()), key=lambda o: o.trial.id)
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

    def _trials(self) -> list[FrozenTrial]:
        return self.access(lambda: finished_trials(self.study))

    def outcome(self, trial: FrozenTrial) -> Outcome:
        """Returns what a finished trial of the study says, checked.

        Raises:
            LedgerError: It is not of this space, or contradicts its digest.
        """
        found = trial.user_attrs
        number = found["nas:trial_id"]
        wrong = [f"{name} is {found.get(name)!r}" for name, kind in _ATTRIBUTES.items()
                 if not isinstance(found.get(name), kind)]
        if not wrong and not all(isinstance(value, int | float)
                                 for value in found["nas:metrics"].values()):
            wrong = [f"metrics {found['nas:metrics']} are not all numbers"]
        if not wrong and found.get("nas:error") is None and trial.values != [
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
                       found.get("nas:error"), found.get("nas:cost", 1.0))


def open_ledger(storage: Path | str, *, space: SearchSpace, objectives: Sequence[Objective],
                identity: Mapping[str, Any], study_name: str = STUDY_NAME,
                patience_s: float = PATIENCE_S) -> Ledger:
    """Returns the ledger of a search, new or to be continued.

    Args:
        storage: A journal file, or any Optuna storage URL.
        space: Whose architectures it holds.
        objectives: The study's directions and metric names.
        identity: What must be equal for a ledger to be continued, such as searcher, seed and
            budget: JSON values. Space and objectives are added to it.
        study_name: Of the Optuna study.
        patience_s: How long an outage of a database is waited out while the search runs.

    Raises:
        LedgerError: The storage cannot be used, or the study is another search's: the message
            says what differs.
    """
    access = Access(shown(storage), study_name, patience_s)
    wanted = _identity(space, objectives, identity)
    directions = [objective.direction for objective in objectives]
    with quiet():
        backend = open_storage(storage, write=True)
        study = access(lambda: optuna.create_study(
            storage=backend, study_name=study_name, load_if_exists=True, directions=directions))
        found = access(lambda: study.user_attrs.get(_IDENTITY))
        # A study without identity and trials is new, or was cut off while being made.
        same = [direction.name.lower() for direction in study.directions] == directions
        if found is None and same and not access(lambda: study.get_trials(deepcopy=False)):
            access(lambda: study.set_metric_names([objective.name for objective in objectives]))
            access(lambda: study.set_user_attr(_IDENTITY, wanted))
            found = access(lambda: study.user_attrs.get(_IDENTITY))
    _check_identity(found, wanted, access.where)
    return Ledger(study, backend, space, objectives, access)


def read_ledger(storage: Path | str, *, space: SearchSpace, objectives: Sequence[Objective],
                study_name: str = STUDY_NAME) -> Ledger:
    """Returns an existing ledger of this space and these objectives, to read from.

    Raises:
        LedgerError: There is none, or it is of another space or has other objectives.
    """
    where = shown(storage)
    with quiet():
        backend = open_storage(storage, write=False)
        try:
            study = optuna.load_study(storage=backend, study_name=study_name)
        except KeyError:
            raise LedgerError(f"ledger {where} has no study {study_name!r}") from None
    found = study.user_attrs.get(_IDENTITY, {})
    wanted = _identity(space, objectives, {})
    _check_identity({key: found.get(key) for key in wanted}, wanted, where)
    return Ledger(study, backend, space, objectives, Access(where, study_name))


def ledger_equal(a: Ledger, b: Ledger) -> bool:
    """Returns whether (id, digest, values, stage, error, cost) agree, sorted by id."""
    return _rows(a) == _rows(b)


def _rows(ledger: Ledger) -> list[tuple[Any, ...]]:
    return [(o.trial.id, o.trial.arch.digest, o.stage, o.error, o.cost, ledger.values(o))
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
