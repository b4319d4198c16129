"""A network that is validated in two goes without computing anything twice."""

import torch
from torch import Tensor, nn


class Remembering(nn.Module):
    """A network that notes its outputs and, once rewound, does not compute them a second time.

    Args:
        network: In evaluation mode; one tensor in, one out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._at: int | None = None  # of the next output that is expected again; None: it notes

    def rewind(self) -> None:
        """Expects the same inputs again from now on, and others behind them."""
        self._at = 0

    def forward(self, x: Tensor) -> Tensor:
        """Returns the network's outputs."""
        outputs: Tensor
        if self._at is None:
            outputs = self.network(x)
            self._seen.append((x, outputs))
        elif self._at < len(self._seen) and torch.equal(self._seen[self._at][0], x):
            outputs = self._seen[self._at][1]
            self._at += 1
        else:
            outputs = self.network(x)
        return outputs
