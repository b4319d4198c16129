"""What long work tells whoever watches: plain values, no terminal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One step of long work.

    Attributes:
        stage: Such as ``"search"``; equal stages are one progress bar.
        done: Units finished.
        total: Units in all.
        note: A short remark, such as the best so far.
        trial: What a finished trial gave, as `nas.pipeline.search.trial_values` has it; None where
            the step is none.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    trial: Mapping[str, Any] | None = None


Watcher = Callable[[Event], None]


def silent(event: Event) -> None:
    """The watcher that ignores everything."""
    del event
