"""What the pipeline tells of a job: written to the log of its events, kept for the next beat."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.pipeline.events import Event
from nas.service.event_log import Event as Logged
from nas.service.event_log import EventLog

PAUSE_S = 0.2  # between two lines of one stage's progress


class Reporter:
    """The `Watcher` of a job.

    Not every step of a stage is written, but its first, its last, and what `flush` finds.

    Args:
        log: Written to.
        before: What is in the log. A search that goes on tells of its trials again: what the log
            has of them already is not written again.
        stopping: Whether the job is to stop; its next step then ends it with a KeyboardInterrupt.
        clock: Seconds.

    Attributes:
        last: The last step; None before the first.
        busy: Whether a step is being taken, which no signal may break off half-way.
    """

    def __init__(self, log: EventLog, *, before: Sequence[Logged],
                 stopping: Callable[[], bool] = lambda: False,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._stopping = stopping
        self._clock = clock
        self._lock = threading.Lock()
        self._told = {_key(event): _facts(event) for event in before if event["type"] == "trial"}
        self._waiting: dict[str, Event] = {}
        self._written: dict[str, float] = {}
        self.last: Event | None = None
        self.busy = False

    def __call__(self, event: Event) -> None:
        """Takes a step.

        Raises:
            KeyboardInterrupt: The job is to stop.
            DiskError: The log cannot be written.
        """
        self.busy = True
        try:
            with self._lock:
                self._take(event)
        finally:
            self.busy = False
        if self._stopping():
            raise KeyboardInterrupt

    def flush(self) -> None:
        """Writes what waits; for any thread.

        Raises:
            DiskError: The log cannot be written.
        """
        with self._lock:
            while self._waiting:
                self._write(self._waiting.pop(next(iter(self._waiting))))

    @property
    def note(self) -> str:
        """Of the last step, for people."""
        if self.last is None:
            return ""
        return ": ".join(part for part in (self.last.stage, self.last.note) if part)

    def _take(self, event: Event) -> None:
        self.last = event
        if event.trial is not None:
            self._tell(event.trial)
        for stage in [*self._waiting]:
            if stage != event.stage:  # the last step of another stage
                self._write(self._waiting.pop(stage))
        now = self._clock()
        is_due = now - self._written.get(event.stage, -PAUSE_S) >= PAUSE_S
        if is_due or event.done >= event.total:
            self._waiting.pop(event.stage, None)
            self._write(event)
            self._written[event.stage] = now
        else:
            self._waiting[event.stage] = event

    def _tell(self, trial: Mapping[str, Any]) -> None:
        if self._told.get(_key(trial)) != _facts(trial):
            self._log.append("trial", **trial)
            self._told[_key(trial)] = _facts(trial)

    def _write(self, event: Event) -> None:
        self._log.append("progress", stage=event.stage, done=event.done, total=event.total,
                         note=event.note)


def _key(trial: Mapping[str, Any]) -> tuple[str, int]:
    return trial.get("run", ""), trial["id"]


def _facts(trial: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(trial[name] for name in ("digest", "metrics", "final", "error"))
