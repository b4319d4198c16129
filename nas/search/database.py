"""A database as storage, to which a whole trial is written in a few statements.

Optuna writes each parameter and each attribute of a trial by statements of their own, some hundred
in all. Here they are seven: four that make the trial and give it its number, and one for each table
with its rows.
"""

import copy
import json
import os
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Optuna's tables as this file knows them; with any others it leaves the writing to Optuna.
_COLUMNS = {
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_params": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "trial_user_attributes": {"trial_user_attribute_id", "trial_id", "key", "value_json"},
    "trial_values": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
}


class Database(RDBStorage):
    """Optuna's `RDBStorage`, quick at adding trials; it closes its connections when it is dropped.

    It relies on the caller for what Optuna checks with each parameter: that all trials of a study
    give it the same distribution.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs=engine_kwargs)
        weakref.finalize(self, _close, self.engine, os.getpid())

    def _create_new_trial(self, study_id: int,
                          template_trial: FrozenTrial | None = None) -> FrozenTrial:
        # Of an Optuna that does not call this, the database is slower and else the same.
        if template_trial is None or _unusual(template_trial) or not _tables_known():
            return super()._create_new_trial(study_id, template_trial)
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.begin() as connection:
                trial_id, number = _insert(connection, study_id, template_trial)
        except SQLAlchemyError as error:
            raise StorageInternalError("a trial could not be added") from error
        made = copy.copy(template_trial)
        made.number, made._trial_id = number, trial_id
        return made


def _close(engine: "Engine", pid: int) -> None:
    # A forked process must not end the connections of its parent.
    engine.dispose(close=os.getpid() == pid)


def _unusual(trial: FrozenTrial) -> bool:
    return bool(trial.system_attrs or trial.intermediate_values)


def _tables_known() -> bool:
    from optuna.storages._rdb import models

    tables = models.BaseModel.metadata.tables
    return all(name in tables and {column.name for column in tables[name].columns} == columns
               for name, columns in _COLUMNS.items())


def _insert(connection: "Connection", study_id: int, trial: FrozenTrial) -> tuple[int, int]:
    from optuna.storages._rdb import models
    from sqlalchemy import func, insert, select, update

    tables = models.BaseModel.metadata.tables
    studies, trials = tables["studies"], tables["trials"]
    # Trials of a study are added one after the other, so that numbers follow each other.
    if connection.execute(select(studies.c.study_id).where(
            studies.c.study_id == study_id).with_for_update()).one_or_none() is None:
        raise KeyError(models.NOT_FOUND_MSG)
    made = connection.execute(insert(trials).values(
        study_id=study_id, state=trial.state, datetime_start=_utc(trial.datetime_start),
        datetime_complete=_utc(trial.datetime_complete)))
    trial_id = int(made.inserted_primary_key[0])  # type: ignore[index]
    number = int(connection.execute(select(func.count()).where(
        trials.c.study_id == study_id, trials.c.trial_id < trial_id)).scalar_one())
    connection.execute(update(trials).where(trials.c.trial_id == trial_id).values(number=number))
    for name, rows in _rows(trial, models.TrialValueModel.value_to_stored_repr).items():
        if rows:
            connection.execute(insert(tables[name]), [{"trial_id": trial_id, **row}
                                                      for row in rows])
    return trial_id, number


def _rows(trial: FrozenTrial, stored: Any) -> dict[str, list[dict[str, Any]]]:
    params = [{"param_name": name,
               "param_value": trial.distributions[name].to_internal_repr(value),
               "distribution_json": distribution_to_json(trial.distributions[name])}
              for name, value in trial.params.items()]
    attributes = [{"key": key, "value_json": json.dumps(value)}
                  for key, value in trial.user_attrs.items()]
    values = [{"objective": index, "value": value, "value_type": kind}
              for index, (value, kind) in enumerate(map(stored, trial.values or ()))]
    return {"trial_params": params, "trial_user_attributes": attributes, "trial_values": values}


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
