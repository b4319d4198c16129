"""What is to be pruned, and what a method of pruning promises."""

from dataclasses import dataclass
from typing import Protocol

from nas.core.arch import Arch
from supernets.tas.budget import Budget
from supernets.timm.supernet import TimmSupernet


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network that is to be pruned.

    Attributes:
        supernet: Its largest network is the one that is pruned, with that one's weights.
        budget: To be met.
        seed: Of everything random.
    """

    supernet: TimmSupernet
    budget: Budget
    seed: int


class PruneMethod(Protocol):
    """Chooses the architecture of a pruned network."""

    def __call__(self, subject: Subject) -> Arch:
        """Returns an architecture of the supernet's space, within the budget.

        Raises:
            InputError: The method cannot reach the budget.
        """
