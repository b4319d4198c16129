"""Trials in Optuna's tables: written in seven statements each, read in as many for any number.

Optuna writes each parameter and each attribute by statements of their own, some hundred for a
trial, and reads through objects of SQLAlchemy.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

# Optuna's tables as this file knows them.
_ATTRIBUTES = {"trial_id", "key", "value_json"}
_COLUMNS = {
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_params": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "trial_values": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
    "trial_intermediate_values": {"trial_intermediate_value_id", "trial_id", "step",
                                  "intermediate_value", "intermediate_value_type"},
    "trial_user_attributes": {"trial_user_attribute_id", *_ATTRIBUTES},
    "trial_system_attributes": {"trial_system_attribute_id", *_ATTRIBUTES},
}
_PARTS = tuple(name for name in _COLUMNS if name != "trials")


def tables_known() -> bool:
    """Returns whether the installed Optuna has the tables that this file knows."""
    from optuna.storages._rdb import models

    tables = models.BaseModel.metadata.tables
    return all(name in tables and {column.name for column in tables[name].columns} == columns
               for name, columns in _COLUMNS.items())


def insert_trial(connection: "Connection", study_id: int, trial: FrozenTrial) -> tuple[int, int]:
    """Writes a trial without intermediate values or system attributes; returns id and number.

    Raises:
        KeyError: There is no such study.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import func, insert, select, update

    tables = models.BaseModel.metadata.tables
    trials = tables["trials"]
    # Trials of a study are added one after the other, so that numbers follow each other.
    _check_study(connection, study_id, lock=True)
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


def select_trials(connection: "Connection", study_id: int, *, states: Collection[TrialState] | None,
                  among: Iterable[int], above: int) -> list[FrozenTrial]:
    """Reads trials of a study, by rising id.

    Args:
        connection: To the database.
        study_id: Of the study.
        states: That they may have; None: any.
        among: Ids of trials to be read,
        above: and all with a larger id than this.

    Raises:
        KeyError: There is no such study.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import or_, select

    tables = models.BaseModel.metadata.tables
    trials = tables["trials"]
    _check_study(connection, study_id, lock=False)
    chosen: list[ColumnElement[bool]] = [
        trials.c.study_id == study_id,
        or_(trials.c.trial_id > above, trials.c.trial_id.in_(sorted(among)))]
    if states is not None:
        chosen.append(trials.c.state.in_(list(states)))
    found = connection.execute(select(trials).where(*chosen).order_by(trials.c.trial_id)).all()
    parts: dict[str, dict[int, list[Any]]] = {name: defaultdict(list) for name in _PARTS}
    for name in _PARTS if found else ():
        table = tables[name]
        # In the order in which they were written.
        key = next(iter(table.primary_key.columns))
        for row in connection.execute(select(table).join(
                trials, table.c.trial_id == trials.c.trial_id).where(*chosen).order_by(key)):
            parts[name][row.trial_id].append(row)
    return [_trial(row, {name: parts[name].get(row.trial_id, []) for name in _PARTS})
            for row in found]


def _check_study(connection: "Connection", study_id: int, *, lock: bool) -> None:
    from optuna.storages._rdb import models
    from sqlalchemy import select

    studies = models.BaseModel.metadata.tables["studies"]
    query = select(studies.c.study_id).where(studies.c.study_id == study_id)
    if connection.execute(query.with_for_update() if lock else query).one_or_none() is None:
        raise KeyError(models.NOT_FOUND_MSG)


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


def _trial(row: Any, parts: Mapping[str, list[Any]]) -> FrozenTrial:
    from optuna.storages._rdb import models

    value_of = models.TrialValueModel.stored_repr_to_value
    step_of = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    values = {part.objective: value_of(part.value, part.value_type)
              for part in parts["trial_values"]}
    distributions = {part.param_name: _distribution(part.distribution_json)
                     for part in parts["trial_params"]}
    return FrozenTrial(
        number=row.number, trial_id=row.trial_id, state=row.state, value=None,
        values=[values[index] for index in range(len(values))] or None,
        datetime_start=_local(row.datetime_start), datetime_complete=_local(row.datetime_complete),
        params={part.param_name: distributions[part.param_name].to_external_repr(part.param_value)
                for part in parts["trial_params"]},
        distributions=distributions,
        user_attrs={part.key: json.loads(part.value_json)
                    for part in parts["trial_user_attributes"]},
        system_attrs={part.key: json.loads(part.value_json)
                      for part in parts["trial_system_attributes"]},
        intermediate_values={
            part.step: step_of(part.intermediate_value, part.intermediate_value_type)
            for part in parts["trial_intermediate_values"]})


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _local(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
