"""What a gradient search learns, and what of it is trained when."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from supernets.tas.balance import CostLoss
from supernets.tas.controller import Controller
from supernets.tas.relaxed import Relaxed
from supernets.training.updates import Updates

_SETTLING = 500  # steps, at most


@dataclass
class Learnt:
    """All that a search learns: what a checkpoint holds.

    Attributes:
        relaxed: The network.
        updates: Of its weights.
        controller: The architecture.
        optimizer: Of the architecture.
        step: How many have been made.
    """

    relaxed: Relaxed
    updates: Updates
    controller: Controller
    optimizer: torch.optim.Optimizer
    step: int = 0

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes the state of a checkpoint."""
        self.relaxed.load_state_dict(state["relaxed"])
        self.updates.load(state["updates"])
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def state(self) -> dict[str, Any]:
        """Returns what `load` takes."""
        return {"step": self.step, "relaxed": self.relaxed.state_dict(),
                "updates": self.updates.state(), "controller": self.controller.state_dict(),
                "optimizer": self.optimizer.state_dict()}

    def settle(self, cost_loss: CostLoss) -> None:
        """Leads the likeliest network into the band around the budget, without images.

        Every step of a search changes several layers' likeliest widths, and any one is the last.
        """
        for _ in range(_SETTLING):
            loss = cost_loss(self.controller)
            if not loss.requires_grad:  # within the band
                break
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Lets no weight of a module have a gradient: they are a third of a step."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
