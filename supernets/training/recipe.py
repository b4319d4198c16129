"""How weights are updated: what training a supernet and training one network have in common."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from nas.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """SGD with Nesterov's momentum; the learning rate falls as a cosine.

    Attributes:
        epochs: Passes over the images.
        learning_rate: Peak, for the mean of the step's losses; cosine to 0 after the warm-up.
        warmup_epochs: Linear rise of the learning rate.
        momentum: Nesterov's.
        weight_decay: On convolution and linear weights alone: not on norms, biases, kernel maps.
        label_smoothing: Of the loss against labels.
        seed: Of everything random.

    Raises:
        InputError: No epoch, or a learning rate that is not positive.
    """

    epochs: int
    learning_rate: float = 0.2
    warmup_epochs: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"training takes 1 epoch or more, not {self.epochs}")
        if not self.learning_rate > 0:
            raise InputError(f"learning rate {self.learning_rate} must be positive")

    def optimizer(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.SGD:
        """Returns the optimizer of these named parameters."""
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in parameters:
            is_free = parameter.ndim < 2 or "kernel_maps" in name
            (free if is_free else decayed).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.weight_decay},
                  {"params": free, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum,
                               nesterov=True)

    def set_learning_rate(self, optimizer: torch.optim.Optimizer, step: int, *,
                          steps_per_epoch: int) -> None:
        """Sets what a step, counted from 0 over all epochs, is made with."""
        epoch = step / steps_per_epoch
        if epoch < self.warmup_epochs:
            scale = (epoch + 1 / steps_per_epoch) / self.warmup_epochs
        else:
            done = (epoch - self.warmup_epochs) / max(1e-9, self.epochs - self.warmup_epochs)
            scale = 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * scale
