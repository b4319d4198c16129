"""A job that is watched from afar: its steps as of work here, and what a stopped watcher says."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.core.errors import DiskError, RunInterrupted
from nas.core.files import os_error_line
from nas.pipeline.events import Event, Watcher
from nas.service.client_errors import ServerError


def tell(events: Iterable[Mapping[str, Any]], watch: Watcher) -> None:
    """Tells a watcher of a job's events in the way that the same work here would.

    Raises:
        KeyError: An event lacks what one of its type has.
    """
    last = Event("search", 0, 0)
    for event in events:
        if event["type"] == "progress":
            last = Event(str(event["stage"]), int(event["done"]), int(event["total"]),
                         str(event["note"]))
            watch(last)
        elif event["type"] == "trial":
            trial = {name: value for name, value in event.items()
                     if name not in ("seq", "t", "type")}
            watch(Event(last.stage, last.done, last.total, last.note, trial))


@contextmanager
def says_how_to_follow(job_id: str, command: str) -> Iterator[None]:
    """Lets an end that is not the job's say how to follow it again.

    Args:
        job_id: Of the job.
        command: That follows it.

    Raises:
        RunInterrupted: In place of a KeyboardInterrupt.
        DiskError: In place of an OSError.
        ServerError: In place of a shorter one.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(f"stopped watching, and job {job_id} goes on; follow it with: "
                             f"{command}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, then: {command}") from None
    except ServerError as error:
        raise ServerError(f"{error}; job {job_id} is followed again with: {command}") from None


def following(url: str, job_id: str, *, kind: str, token_file: Path | None,
              out: Path | None) -> str:
    """Returns what follows a job again: a command, or a call where there is no command for it."""
    if kind != "search":
        return f"nas.Client({url!r}).follow({job_id!r})"
    token = ["--token-file", str(token_file)] if token_file else []
    place = ["--out", str(out)] if out else []
    return shlex.join(["nas", "search", "--server", url, *token, "--resume", job_id, *place])
