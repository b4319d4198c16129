"""The `Gate` of a search: exits that learn, and explorers that pass whatever these say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.rng import derive_rng
from nas.core.trial import Outcome
from nas.evaluation.quantile_exit import QuantileExit


class LearnedExits:
    """Exits one after the other, cheapest first.

    A fixed share of candidates, drawn at random, passes regardless: so a score that is wrong
    about a part of the space cannot blind the search to it, and its correlation is measured on
    more than what it liked.

    Args:
        exits: In order.
        seed: Draws the explorers.
        explorers: Their share, > 0 and ≤ 1.

    Raises:
        InputError: Two exits of one name, or a share out of range.
    """

    def __init__(self, exits: Sequence[QuantileExit], *, seed: int, explorers: float = 0.1) -> None:
        names = [one.name for one in exits]
        if len(set(names)) < len(names):
            raise InputError(f"two early exits have one name: {', '.join(names)}")
        if not 0.0 < explorers <= 1.0:
            raise InputError(f"the share of explorers {explorers} must be over 0 and at most 1")
        self._exits = exits
        self._seed = seed
        self._explorers = explorers
        self._asked = 0

    @property
    def names(self) -> Sequence[str]:
        """Of the exits."""
        return [one.name for one in self._exits]

    def __call__(self, arch: Arch) -> str | None:
        """Returns the first exit that finds the candidate too low; every exit scores explorers."""
        rng = derive_rng(self._seed, "explorers", index=self._asked)
        explores = rng.random() < self._explorers
        self._asked += 1
        for one in self._exits:
            if one.too_low(arch) and not explores:
                return one.name
        return None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Lets every exit learn."""
        for one in self._exits:
            one.tell(outcomes)

    def record(self) -> Mapping[str, Any]:
        """Returns the new scores and the latest switch of each exit."""
        return {one.name: {"scores": dict(one.record()), "open": one.open} for one in self._exits}

    def recall(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Takes the scores in such records."""
        for record in records:
            for one in self._exits:
                one.recall(record.get(one.name, {}).get("scores", {}))

    def report(self) -> list[dict[str, Any]]:
        """Returns what each exit found."""
        return [one.report() for one in self._exits]
