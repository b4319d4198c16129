"""What the events of a job add up to: the view that a page shows. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.core.problem import Objective
from nas.pipeline.front import front_rows, hypervolume_history
from nas.pipeline.metrics import METRICS
from nas.service.event_log import Event
from nas.service.store.job import Job
from supernets.tasks.measures import DISTANCE, FID

Trial = Mapping[str, Any]


def view(job: Job, events: Sequence[Event]) -> dict[str, Any]:
    """Returns stages, trials, front, hypervolume and exits of a job, as JSON values.

    Args:
        job: As the store has it.
        events: All events of its log so far.

    Raises:
        EvaluationError: A log whose trials lack an objective.
    """
    trials = _trials(events)
    objectives = _objectives(job)
    validated = [trial for trial in trials if trial["final"]]
    metrics = [trial["metrics"] for trial in validated]
    front = [validated[row] for row in front_rows(objectives, metrics)] if validated else []
    on_front = {_key(trial) for trial in front}
    is_search = job.kind == "search" and not job.config.get("compare")
    return {
        "job": job.id, "seq": events[-1]["seq"] if events else 0, "state": job.state,
        "stages": _stages(events),
        "objectives": [{"name": one.name, "unit": one.unit} for one in objectives],
        "trials": [_shown(trial, on_front=_key(trial) in on_front) for trial in trials],
        "front": list(dict.fromkeys(trial["digest"] for trial in front)),
        "archs": {trial["digest"]: trial["arch"] for trial in front},
        "hypervolume": (_hypervolume(objectives, metrics) if is_search
                        else {"reference": None, "values": []}),
        "exits": _exits(events) if is_search else None,
    }


def _stages(events: Sequence[Event]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "progress":
            found[event["stage"]] = {name: event[name] for name in ("stage", "done", "total",
                                                                    "note")}
    return list(found.values())


def _trials(events: Sequence[Event]) -> list[Trial]:
    # A search that goes on may tell of trials again; those of a comparison are of several runs.
    found = {_key(event): event for event in events if event["type"] == "trial"}
    return sorted(found.values(), key=lambda trial: int(trial["id"]))


def _key(trial: Trial) -> tuple[str, int]:
    return trial.get("run", ""), trial["id"]


def _shown(trial: Trial, *, on_front: bool) -> dict[str, Any]:
    shown = {name: trial[name] for name in ("id", "digest", "metrics", "final", "error", "run")
             if name in trial}
    return shown | {"on_front": on_front}


def _objectives(job: Job) -> list[Objective]:
    if job.kind != "search":
        return []
    # Whether the error is a distance, without a unit, is known before anything is loaded.
    units = {**METRICS, **({"error": DISTANCE.unit} if job.config.get("quality") == FID else {})}
    return [Objective(name, units[name]) for name in job.config["objectives"]]


def _hypervolume(objectives: Sequence[Objective],
                 metrics: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    if len(metrics) < 2:  # one network spans no box
        return {"reference": None, "values": []}
    history, reference = hypervolume_history(objectives, metrics)
    return {"reference": reference.tolist(), "values": _steps(history)}


def _steps(history: Sequence[float]) -> list[list[float]]:
    # Where it changes, and where it ends.
    return [[number, share] for number, (share, before)
            in enumerate(zip(history, [None, *history], strict=False), start=1)
            if share != before or number == len(history)]


def compared(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the hypervolume of several searches in one box, so that it can be compared.

    The box is that of all their validations, in the objectives that they have in common.

    Args:
        views: Of each of them, as `view` gives it; one of several searchers is left out.
    """
    views = [found for found in views if found["exits"] is not None]

    objectives = [[Objective(**one) for one in found["objectives"]] for found in views]
    shared = [one for one in objectives[0] if all(one in other for other in objectives)
              ] if objectives else []
    metrics = [[trial["metrics"] for trial in found["trials"] if trial["final"]]
               for found in views]
    among = [one for found in metrics for one in found]
    reference, runs = None, {found["job"]: list[list[float]]() for found in views}
    for found, own in zip(views, metrics, strict=True):
        if own and shared and len(among) > 1:  # one network spans no box
            history, corner = hypervolume_history(shared, own, among=among)
            reference, runs[found["job"]] = corner.tolist(), _steps(history)
    return {"objectives": [{"name": one.name, "unit": one.unit} for one in shared],
            "reference": reference, "runs": runs}


def _exits(events: Sequence[Event]) -> dict[str, Any]:
    last = next((event["counts"] for event in reversed(events)
                 if event["type"] == "trial" and "counts" in event), None)
    return last or {"sampled": 0, "early_exits": {}, "evaluated": 0, "failed": 0}
