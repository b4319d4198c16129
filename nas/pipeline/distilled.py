"""Training one network, as a rule with a teacher: the `nas.evaluation.fit.Fit` of fine-tuning."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.core.protocols import Batch, Task
from nas.pipeline.training_images import TrainingImages
from supernets.training.data import Batches
from supernets.training.distill import Criterion
from supernets.training.image_batches import ImageBatches
from supernets.training.plain import PlainTraining
from supernets.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """Starts the training of one network.

    Attributes:
        task: Of the network.
        images: Trained on.
        batch_size: Of each step.
        recipe: Its seed is replaced.
        criterion: What is learnt from.
        start: The weights that the network starts with; None: those that it has.
        on_step: Called before each step with its number, from 0.
    """

    task: Task
    images: TrainingImages
    batch_size: int
    recipe: Recipe
    criterion: Criterion
    start: Mapping[str, Tensor] | None = field(repr=False)
    on_step: Callable[[int], None]
    _made: list[Batches] = field(default_factory=list, init=False, repr=False)

    @property
    def epochs(self) -> int:
        """Of the training."""
        return self.recipe.epochs

    def identity(self) -> dict[str, Any]:
        """Returns what must be equal for a training to be continued: JSON values."""
        found = {**asdict(self.recipe), **self.images.batches(self.batch_size, 0).identity(),
                 "criterion": self.criterion.identity(),
                 "start": None if self.start is None else _checksum(self.start)}
        del found["seed"], found["data_seed"]
        return found

    def __call__(self, module: nn.Module, *, seed: int) -> PlainTraining:
        """Returns the training of a network, at its start."""
        if self.start is not None:
            module.load_state_dict(dict(self.start))
        device = next(module.parameters()).device
        recipe = Recipe(**{**asdict(self.recipe), "seed": seed})
        self._made.append(self.images.batches(self.batch_size, seed))
        batches = _Watched(self._made[-1], self.on_step)
        return PlainTraining(module.to(device), task=self.task, data=batches, recipe=recipe,
                             criterion=self.criterion)

    def close(self) -> None:
        """Ends the processes that make batches, where there are any."""
        for batches in self._made:
            if isinstance(batches, ImageBatches):
                batches.close()


@dataclass(frozen=True, slots=True)
class _Watched:
    """Batches that tell when each is asked for."""

    batches: Batches
    on_step: Callable[[int], None]

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.steps_per_epoch

    def checked_steps_per_epoch(self) -> int:
        return self.batches.checked_steps_per_epoch()

    def identity(self) -> dict[str, int | str]:
        return self.batches.identity()

    def batch(self, step: int) -> Batch:
        self.on_step(step)
        return self.batches.batch(step)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    found = 0
    for name in sorted(tensors):
        numbers = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        found = zlib.crc32(numbers.numpy().data, found)
    return f"{found:08x}"
