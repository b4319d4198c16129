"""A trial and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.core.arch import Arch


@dataclass(frozen=True, slots=True)
class Trial:
    """An architecture to evaluate; ids count from 0 in the order of asking."""

    id: int
    arch: Arch


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: metrics or an error.

    Attributes:
        trial: The trial.
        metrics: Name → finite number; empty if it failed.
        stage: The last stage that it reached, such as ``"validation"``.
        error: One line, if it failed.
    """

    trial: Trial
    metrics: Mapping[str, float] = field(default_factory=dict)
    stage: str = "validation"
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there are metrics."""
        return self.error is None
