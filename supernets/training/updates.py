"""The one loop body under every training: a step's backward passes and the update they make."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils.memory import (  # type: ignore[import-untyped]
    should_reduce_batch_size,
)
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError
from nas.core.rng import derive_seed
from supernets.training.averaging import AveragedWeights
from supernets.training.data import Batches
from supernets.training.optimizers import set_learning_rate
from supernets.training.precision import Precision
from supernets.training.processes import Processes
from supernets.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Part:
    """One backward pass: the mean loss of one network on one batch.

    Attributes:
        loss: A number with its graph.
        count: Parts that the batch has; an update is made with their mean.
        network: Which network, for messages; empty where there is but one.
    """

    loss: Tensor
    count: int = 1
    network: str = ""


# (inputs, targets, step) → the parts, each made when it is asked for: the graph of one is freed
# before the next network runs.
Parts = Callable[[Any, Any, int], Iterator[Part]]


class Updates:
    """A module in training: a pure function of its weights, the recipe and the batches, on a CPU.

    Args:
        module: Trained in place, where it lies.
        recipe: How.
        data: The batches.
        processes: Those that share the training.

    Raises:
        DataError: Less data than one update takes.
        InputError: A recipe that the module or its device cannot follow.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, data: Batches, *,
                 processes: Processes | None = None) -> None:
        batches = data.checked_steps_per_epoch()
        self.steps_per_epoch = batches // recipe.accumulation
        if self.steps_per_epoch == 0:
            raise DataError(f"an epoch has {batches} batches, fewer than the {recipe.accumulation} "
                            "of one update; accumulate fewer")
        self._batches_per_epoch = batches
        self._module, self._recipe, self._data = module, recipe, data
        self._processes = processes or Processes()
        self._device = next(module.parameters()).device
        self._optimizer = recipe.make_optimizer(module)
        self._precision = Precision(recipe.precision, self._device)
        self._average = (None if recipe.ema_decay is None
                         else AveragedWeights(module, recipe.ema_decay))

    def step(self, step: int, parts: Parts) -> float:
        """Makes one update and returns the loss of its first part, the mean over its batches.

        Args:
            step: Counted from 0 over all epochs.
            parts: The losses.

        Raises:
            EvaluationError: A loss that is not finite, or not enough memory.
            DataError, InputError: Batches that cannot be read or shared.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        first = epoch * self._batches_per_epoch + position * self._recipe.accumulation
        set_learning_rate(self._optimizer, self.learning_rate_at(step))
        self._optimizer.zero_grad(set_to_none=True)
        with self._drawing(step):
            losses = [self._batch(number, step, parts)
                      for number in range(first, first + self._recipe.accumulation)]
        self._processes.average_gradients(self._module.parameters())
        self._precision.update(self._optimizer, clip_norm=self._recipe.clip_norm)
        if self._average is not None:
            self._average.update(step)
        return sum(losses) / len(losses)

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate that a step is made with."""
        return self._recipe.learning_rate_at(step, steps_per_epoch=self.steps_per_epoch)

    def averaged(self) -> AbstractContextManager[None]:
        """Lets the module have the result's weights for a while: averages, where there are any."""
        return nullcontext() if self._average is None else self._average.applied()

    def finish(self) -> None:
        """Leaves the result's weights in the module; no step may follow."""
        if self._average is not None:
            self._average.swap()

    def state(self) -> dict[str, Any]:
        """Returns all that `load` needs beside the module's own state, for ``torch.save``."""
        found = {"optimizer": self._optimizer.state_dict(),
                 "scaler": self._precision.scaler.state_dict()}
        return found if self._average is None else {**found, "average": self._average.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a state: on a CPU, what follows is bit for bit what followed it then."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._precision.scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load(state["average"])

    def _batch(self, number: int, step: int, parts: Parts) -> float:
        batch = self._data.batch(number)
        where = f"batch {number} of {len(batch[1])} rows"
        try:
            inputs, targets = self._processes.share(batch)
            return self._backward(parts(inputs, targets, step), step, where)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise EvaluationError(
                f"not enough memory on {self._device} at step {step}, {where}; use smaller "
                "batches and accumulate more of them, or another precision") from None

    def _backward(self, parts: Iterator[Part], step: int, where: str) -> float:
        losses: list[float] = []
        while (part := self._next(parts)) is not None:
            loss = self._processes.mean(part.loss.detach()).item()
            if not math.isfinite(loss):
                network = f", {part.network}" if part.network else ""
                raise EvaluationError(f"training loss is {loss} at step {step}{network}, {where}; "
                                      "lower the learning rate")
            self._precision.backward(part.loss / (part.count * self._recipe.accumulation))
            losses.append(loss)
        return losses[0]

    def _next(self, parts: Iterator[Part]) -> Part | None:
        with self._precision.autocast():
            return next(parts, None)

    @contextmanager
    def _drawing(self, step: int) -> Iterator[None]:
        # Layers that draw, such as dropout, use torch's global generator: it is given back.
        devices = [self._device] if self._device.type == "cuda" else []
        purpose = f"layers {self._processes.index}" if self._processes.index else "layers"
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(self._recipe.seed, purpose, index=step))
            yield


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(should_reduce_batch_size(error))
