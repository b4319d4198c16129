"""How weights are updated: what training a supernet and training one network have in common."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from nas.core.errors import InputError
from supernets.training.optimizers import OPTIMIZERS, parameter_groups
from supernets.training.precision import PRECISIONS

SCHEDULES = ("cosine", "one-cycle")

_ONE_CYCLE_START = 1 / 25  # of the peak
_ONE_CYCLE_END = _ONE_CYCLE_START / 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """By default SGD with Nesterov's momentum; the learning rate falls as a cosine.

    A step is one update of the weights, made with `accumulation` batches. A batch norm sees them
    one by one; for all else it is as if they were one large batch.

    Attributes:
        epochs: Passes over the data.
        learning_rate: Peak, for the mean of the step's losses.
        schedule: ``cosine``: linear rise in the warm-up, then a cosine to 0. ``one-cycle`` (Smith
            & Topin, arXiv 1708.07120, section 3, with torch's figures): half a cosine from 1/25 of
            the peak up in the warm-up, then half a cosine down to 1/250,000; the momentum stays
            as it is, which deviates from the paper.
        warmup_epochs: Rise of the learning rate. The one-cycle policy usually has 30 % of all.
        optimizer: ``sgd`` or ``adamw``.
        momentum: Nesterov's; of SGD alone.
        beta2: AdamW's decay of squared gradients; short trainings of transformers have 0.95.
        weight_decay: On convolution and linear weights alone: not on norms, biases, kernel maps,
            nor what the network itself exempts (`no_weight_decay`, as timm's have it).
        layer_decay: Factor on the learning rate from each layer to the one before it (Clark et
            al., ELECTRA, arXiv 2003.10555, appendix A), for pretrained weights; None for none.
        label_smoothing: Of the loss against labels.
        accumulation: Batches of one update.
        clip_norm: Largest norm of all gradients together; longer ones are scaled. None for any.
        ema_decay: Of the exponential moving average of the weights, which then are the result in
            place of the last ones; None for no average.
        precision: ``no`` for float32 throughout; ``bf16`` or ``fp16`` for mixed precision.
        seed: Of everything random.

    Raises:
        InputError: A value out of range or a name that is not known.
    """

    epochs: int
    learning_rate: float = 0.2
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    optimizer: str = "sgd"
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-4
    layer_decay: float | None = None
    label_smoothing: float = 0.05
    accumulation: int = 1
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: str = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"training takes 1 epoch or more, not {self.epochs}")
        if not self.learning_rate > 0:
            raise InputError(f"learning rate {self.learning_rate} must be positive")
        if self.accumulation < 1:
            raise InputError(f"an update takes 1 batch or more, not {self.accumulation}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"the largest norm of gradients {self.clip_norm} must be positive")
        for what, share in (("layer decay", self.layer_decay), ("EMA decay", self.ema_decay),
                            ("beta2", self.beta2)):
            if share is not None and not 0 < share < 1:
                raise InputError(f"{what} {share} must be between 0 and 1")
        for what, name, known in (("schedule", self.schedule, SCHEDULES),
                                  ("optimizer", self.optimizer, OPTIMIZERS),
                                  ("precision", self.precision, PRECISIONS)):
            if name not in known:
                raise InputError(f"{what} {name!r} is none of {', '.join(known)}")

    def make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """Returns the optimizer of a module's parameters.

        Raises:
            InputError: A layer decay for a module that does not tell its layers apart.
        """
        groups = parameter_groups(module, weight_decay=self.weight_decay,
                                  layer_decay=self.layer_decay)
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, self.beta2))
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum,
                               nesterov=self.momentum > 0)

    def learning_rate_at(self, step: int, *, steps_per_epoch: int) -> float:
        """Returns what a step, counted from 0 over all epochs, is made with."""
        if self.schedule == "one-cycle":
            return self.learning_rate * self._one_cycle(step, steps_per_epoch)
        epoch = step / steps_per_epoch
        if epoch < self.warmup_epochs:
            # A rise that is shorter than a step ends with it.
            scale = min(1.0, (epoch + 1 / steps_per_epoch) / self.warmup_epochs)
        else:
            done = (epoch - self.warmup_epochs) / max(1e-9, self.epochs - self.warmup_epochs)
            scale = 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * scale

    def _one_cycle(self, step: int, steps_per_epoch: int) -> float:
        # As torch.optim.lr_scheduler.OneCycleLR counts: the last step of a phase is its end.
        last = self.epochs * steps_per_epoch - 1
        peak = min(last, max(0.0, self.warmup_epochs * steps_per_epoch - 1))
        if step < peak:
            return _half_cosine(_ONE_CYCLE_START, 1.0, step / peak)
        return _half_cosine(1.0, _ONE_CYCLE_END, (step - peak) / max(1.0, last - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
