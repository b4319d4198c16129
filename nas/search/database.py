"""A database as Optuna's storage, quicker at what a ledger does: add trials, read new ones."""

import copy
import os
import weakref
from collections.abc import Collection, Container
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.search.database_trials import insert_trial, select_trials, tables_known

if TYPE_CHECKING:
    from sqlalchemy import Engine


class Database(RDBStorage):
    """Optuna's `RDBStorage` with two of its methods in few statements.

    With an Optuna that has other tables, or does not call these methods, it is slower and else the
    same. It relies on the caller for what Optuna checks with each parameter: that all trials of a
    study give it the same distribution. Its connections are closed when it is dropped.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs=engine_kwargs)
        weakref.finalize(self, _close, self.engine, os.getpid())

    def _create_new_trial(self, study_id: int,
                          template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None or _unusual(template_trial) or not tables_known():
            return super()._create_new_trial(study_id, template_trial)
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.begin() as connection:
                trial_id, number = insert_trial(connection, study_id, template_trial)
        except SQLAlchemyError as error:
            raise StorageInternalError("a trial could not be added") from error
        made = copy.copy(template_trial)
        made.number, made._trial_id = number, trial_id
        return made

    def _get_trials(self, study_id: int, states: Container[TrialState] | None,
                    included_trial_ids: set[int], trial_id_greater_than: int) -> list[FrozenTrial]:
        if not isinstance(states, Collection | None) or not tables_known():
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.connect() as connection:
                return select_trials(connection, study_id, states=states,
                                     among=included_trial_ids, above=trial_id_greater_than)
        except SQLAlchemyError as error:
            raise StorageInternalError("trials could not be read") from error


def _close(engine: "Engine", pid: int) -> None:
    # A forked process must not end the connections of its parent.
    engine.dispose(close=os.getpid() == pid)


def _unusual(trial: FrozenTrial) -> bool:
    return bool(trial.system_attrs or trial.intermediate_values)
