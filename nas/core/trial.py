"""A trial and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.core.arch import Arch

FULL = "validation"  # the stage of an outcome that nothing cut short


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
        stage: The last stage that it reached; ``"validation"`` is the last there is.
        error: One line, if it failed.
        cost: Work that went into it, in full validations.
    """

    trial: Trial
    metrics: Mapping[str, float] = field(default_factory=dict)
    stage: str = FULL
    error: str | None = None
    cost: float = 1.0

    @property
    def ok(self) -> bool:
        """Whether there are metrics."""
        return self.error is None

    @property
    def final(self) -> bool:
        """Whether the metrics are those of a full validation: only such are on a front.

        Others left earlier, with metrics of lower fidelity, which searchers may learn from.
        """
        return self.ok and self.stage == FULL
