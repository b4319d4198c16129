"""What long work tells whoever watches: plain values, no terminal."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One step of long work.

    Attributes:
        stage: Such as ``"search"``; equal stages are one progress bar.
        done: Units finished.
        total: Units in all.
        note: A short remark, such as the best so far.
    """

    stage: str
    done: int
    total: int
    note: str = ""


Watcher = Callable[[Event], None]


def silent(event: Event) -> None:
    """The watcher that ignores everything."""
    del event
