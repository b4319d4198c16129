from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.pipeline.events import Event
from nas.service.event_log import EventLog, read_events
from nas.service.reporter import PAUSE_S, Reporter


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with EventLog(path) as found:
        yield found


def shown(path: Path, kind: str = "progress") -> list[Any]:
    return [(event["stage"], event["done"]) if kind == "progress" else event["id"]
            for event in read_events(path) if event["type"] == kind]


def test_some_steps_of_a_stage_are_written_and_its_last_in_any_case(path: Path,
                                                                    log: EventLog) -> None:
    clock = Time()
    report = Reporter(log, before=[], clock=clock)
    for done in range(1, 13):
        report(Event("profile", done, 1000))
        clock.now += PAUSE_S / 4.5  # the fifth step is later than the pause
    assert shown(path) == [("profile", 1), ("profile", 6), ("profile", 11)]
    report(Event("search", 0, 2, "first"))
    assert shown(path)[3:] == [("profile", 12), ("search", 0)]
    report(Event("search", 1, 2))
    report(Event("search", 2, 2))
    assert shown(path)[5:] == [("search", 2)]
    assert report.note == "search"


def test_what_waits_is_written_by_the_next_beat(path: Path, log: EventLog) -> None:
    report = Reporter(log, before=[], clock=Time())
    report(Event("search", 1, 9))
    report(Event("search", 2, 9, "error 8.1 %"))
    report.flush()
    report.flush()
    assert shown(path) == [("search", 1), ("search", 2)]
    assert report.note == "search: error 8.1 %"


def test_trials_that_are_told_again_are_written_once(path: Path, log: EventLog) -> None:
    def trial(number: int, error: float, counts: int) -> Event:
        return Event("search", number, 9, trial={
            "id": number, "digest": "a", "arch": {}, "metrics": {"error": error}, "final": True,
            "error": None, "counts": {"sampled": counts}})

    report = Reporter(log, before=[])
    report(trial(0, 9.0, 4))
    report(trial(1, 8.0, 4))
    again = Reporter(log, before=read_events(path))
    again(trial(0, 9.0, 5))
    again(trial(1, 7.0, 5))  # another result is another matter
    again(trial(2, 6.0, 5))
    assert shown(path, "trial") == [0, 1, 1, 2]


def test_a_job_that_is_to_stop_ends_at_its_next_step(path: Path, log: EventLog) -> None:
    stop = False
    report = Reporter(log, before=[], stopping=lambda: stop)
    report(Event("search", 1, 9))
    stop = True
    with pytest.raises(KeyboardInterrupt):
        report(Event("search", 9, 9))
    assert shown(path) == [("search", 1), ("search", 9)]
    assert not report.busy
