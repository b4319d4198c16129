"""Trains one plain network on labels, epoch by epoch."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from nas.core.errors import DataError, EvaluationError
from nas.core.rng import derive_seed
from supernets.calibrate import recalibrate
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import Augmentation, Batches, TrainingData
from supernets.training.recipe import Recipe

BATCH_SIZE = 128  # what the shipped supernet was trained with


class PlainTraining:
    """One network in training: a pure function of its weights, the recipe and the images.

    Args:
        module: Trained in place.
        task: Of the batches; only its ``train_calib`` is read, for batch norm.
        data: The batches.
        recipe: How.

    Raises:
        DataError: Fewer images than one batch.
    """

    def __init__(self, module: nn.Module, *, task: ImageClassification, data: Batches,
                 recipe: Recipe) -> None:
        self.done = 0  # epochs
        self._steps = data.checked_steps_per_epoch()
        self._module = module.to(device=task.device)
        self._module = self._module.to(memory_format=torch.channels_last)
        self._task, self._data, self._recipe = task, data, recipe
        self._optimizer = recipe.optimizer(self._module.named_parameters())

    def advance(self) -> nn.Module:
        """Trains one more epoch and returns a copy in evaluation mode.

        The copy's batch-norm statistics are measured on ``train_calib``.

        Raises:
            EvaluationError: A loss that is not finite.
            DataError: Images that are not of the task's size, or a label that it has not.
        """
        self._module.train()
        # Layers that draw, such as dropout, use torch's global generator: it is given back.
        devices = [self._task.device] if self._task.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(self._recipe.seed, "layers", index=self.done))
            for step in range(self.done * self._steps, (self.done + 1) * self._steps):
                self._step(step)
        self.done += 1
        return recalibrate(copy.deepcopy(self._module), self._task.batches("train_calib"))

    def state(self) -> dict[str, Any]:
        """Returns all that `load` needs, for ``torch.save``; it is not to be changed."""
        return {"done": self.done, "module": self._module.state_dict(),
                "optimizer": self._optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a state: what follows is bit for bit what followed it then, on a CPU."""
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.done = int(state["done"])

    def _step(self, step: int) -> None:
        self._recipe.set_learning_rate(self._optimizer, step, steps_per_epoch=self._steps)
        x, targets = self._data.batch(step)
        loss = nn.functional.cross_entropy(self._module(x), targets,
                                           label_smoothing=self._recipe.label_smoothing)
        if not math.isfinite(loss.item()):
            raise EvaluationError(f"training loss is {loss.item()} at step {step}; lower the "
                                  "learning rate")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


@dataclass(frozen=True, kw_only=True)
class PlainFit:
    """Starts the training of networks, all by one recipe on the same images.

    Attributes:
        task: Of the networks.
        images: Trained on: never those of a split that is validated on.
        recipe: Its seed is replaced by each network's own.
        batch_size: Of each step.
        augmentation: None leaves images as they are.

    Raises:
        DataError: Images that are not of the task, or fewer than one batch.
    """

    task: ImageClassification
    images: LabelledImages
    recipe: Recipe
    batch_size: int = BATCH_SIZE
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        self._data(0).checked_steps_per_epoch()
        self.task.to_input(self.images.images[:1])
        self.task.to_targets(self.images.labels)

    @property
    def epochs(self) -> int:
        """Of every training."""
        return self.recipe.epochs

    def identity(self) -> dict[str, Any]:
        """Returns what must be equal for a training to be continued: JSON values."""
        found = {**asdict(self.recipe), **self._data(0).identity()}
        del found["seed"], found["data_seed"]
        return found

    def __call__(self, module: nn.Module, *, seed: int) -> PlainTraining:
        """Returns the training of a network, at its start."""
        recipe = Recipe(**{**asdict(self.recipe), "seed": seed})
        return PlainTraining(module, task=self.task, data=self._data(seed), recipe=recipe)

    def _data(self, seed: int) -> TrainingData:
        return TrainingData(task=self.task, data=self.images, batch_size=self.batch_size,
                            seed=seed, augmentation=self.augmentation)


def check_apart(training: LabelledImages, task: ImageClassification) -> None:
    """Checks that nothing is trained on that is validated or tested on.

    Raises:
        DataError: An image of ``search`` or ``test`` is among the training images. A few are
            forgiven: data sets have doubles of their own.
    """
    known = {image.tobytes() for image in training.images}
    for split in ("search", "test"):
        images = task.splits[split].images
        shared = sum(image.tobytes() in known for image in images)
        if shared > max(1, len(images) // 100):
            raise DataError(f"{shared} of {len(images)} images of the {split} split are among the "
                            "training images; give --data images that the supernet's task does "
                            "not validate on")
