"""What trained evaluation asks of whoever trains: the fit callback that the pipeline passes in."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn


class Training(Protocol):
    """One network in training."""

    done: int  # epochs

    def advance(self) -> nn.Module:
        """Trains one more epoch and returns a copy in evaluation mode, ready to be validated."""

    def state(self) -> Mapping[str, Any]:
        """Returns all that `load` needs: tensors, numbers, texts; with ``"done"``."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a state; what follows is what followed it then."""


class Fit(Protocol):
    """Starts trainings that are pure functions of the network's weights and the seed."""

    @property
    def epochs(self) -> int:
        """Of every training."""

    def identity(self) -> Mapping[str, Any]:
        """Returns what must be equal for a training to be continued: JSON values."""

    def __call__(self, module: nn.Module, *, seed: int) -> Training:
        """Returns the training of a network, which it may change, at its start."""
