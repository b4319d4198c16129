"""The exponential moving average of a module's parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Polyak & Juditsky's average with exponential weights; buffers are not averaged.

    Early on the decay is (1 + t) / (10 + t) for step t where that is less, so that the start does
    not weigh on the average (as in TensorFlow's ExponentialMovingAverage). timm's `ModelEmaV3`
    copies the module, and a supernet holds its task with all images.

    Args:
        module: Whose parameters are averaged; they are where the average starts.
        decay: What is kept at each step, 0 … 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._averages = [parameter.detach().clone() for parameter in module.parameters()]

    def update(self, step: int) -> None:
        """Takes in the parameters as they are after a step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, [p.detach() for p in self._module.parameters()],
                                 1 - decay)

    def swap(self) -> None:
        """Exchanges the module's parameters with their averages."""
        for index, parameter in enumerate(self._module.parameters()):
            parameter.data, self._averages[index] = self._averages[index], parameter.data

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lets the module have the averages for a while; nothing may be updated in it."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> dict[str, Tensor]:
        """Returns the averages by parameter name."""
        return dict(zip((name for name, _ in self._module.named_parameters()), self._averages,
                        strict=True))

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes averages that `state` gave."""
        with torch.no_grad():
            for name, average in self.state().items():
                average.copy_(state[name])
