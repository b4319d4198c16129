"""Trains one plain network, epoch by epoch."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from nas.core.errors import DataError
from nas.core.protocols import Task
from supernets.calibrate import recalibrate
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.timm_images import TimmImages
from supernets.training.data import Augmentation, Batches, TrainingData
from supernets.training.distill import Criterion, LabelLoss
from supernets.training.recipe import Recipe
from supernets.training.updates import Part, Updates

BATCH_SIZE = 128  # what the shipped supernet was trained with


class PlainTraining:
    """One network in training: a pure function of its weights, the recipe and the images.

    Args:
        module: Trained in place, where it lies.
        task: Of the batches; only its ``train_calib`` is read, for batch norm.
        data: The batches.
        recipe: How.
        criterion: What is learnt from; by default the labels, smoothed as the recipe has it.

    Raises:
        DataError: Fewer images than one update takes.
        InputError: A recipe that the module or its device cannot follow.
    """

    def __init__(self, module: nn.Module, *, task: Task, data: Batches, recipe: Recipe,
                 criterion: Criterion | None = None) -> None:
        self.done = 0  # epochs
        self._module = module.to(memory_format=torch.channels_last)
        self._task = task
        self._criterion = criterion or LabelLoss(smoothing=recipe.label_smoothing)
        self._updates = Updates(self._module, recipe, data)

    def advance(self) -> nn.Module:
        """Trains one more epoch and returns a copy in evaluation mode.

        The copy has the averaged weights, if the recipe wants an average. Its batch-norm
        statistics are measured on ``train_calib``.

        Raises:
            EvaluationError: A loss that is not finite, or not enough memory.
            DataError: Images that are not of the task's size, or a label that it has not.
        """
        self._module.train()
        steps = self._updates.steps_per_epoch
        for step in range(self.done * steps, (self.done + 1) * steps):
            self._updates.step(step, self._parts)
        self.done += 1
        with self._updates.averaged():
            network = copy.deepcopy(self._module)
        return recalibrate(network, self._task.batches("train_calib"))

    def state(self) -> dict[str, Any]:
        """Returns all that `load` needs, for ``torch.save``; it is not to be changed."""
        return {"done": self.done, "module": self._module.state_dict(),
                "updates": self._updates.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a state: what follows is bit for bit what followed it then, on a CPU."""
        self._module.load_state_dict(state["module"])
        self._updates.load(state["updates"])
        self.done = int(state["done"])

    def _parts(self, inputs: Any, targets: Any, _step: int) -> Iterator[Part]:
        yield Part(self._criterion(inputs, targets)(self._module(inputs)))


@dataclass(frozen=True, kw_only=True)
class RecipeFit(ABC):
    """Starts the training of networks, all by one recipe on the same images.

    Attributes:
        task: Of the networks.
        recipe: Its seed is replaced by each network's own.
        batch_size: Of each step.

    Raises:
        DataError: Fewer images than one batch.
    """

    task: ImageClassification | TimmImages
    recipe: Recipe
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        self.batches(0).checked_steps_per_epoch()

    @abstractmethod
    def batches(self, seed: int) -> Batches:
        """Returns the batches of one training: never of a split that is validated on."""

    @property
    def epochs(self) -> int:
        """Of every training."""
        return self.recipe.epochs

    def identity(self) -> dict[str, Any]:
        """Returns what must be equal for a training to be continued: JSON values."""
        found = {**asdict(self.recipe), **self.batches(0).identity()}
        del found["seed"], found["data_seed"]
        return found

    def __call__(self, module: nn.Module, *, seed: int) -> PlainTraining:
        """Returns the training of a network, at its start."""
        recipe = Recipe(**{**asdict(self.recipe), "seed": seed})
        return PlainTraining(module.to(device=self.task.device), task=self.task,
                             data=self.batches(seed), recipe=recipe)


@dataclass(frozen=True, kw_only=True)
class PlainFit(RecipeFit):
    """The same on images in memory.

    Attributes:
        images: Trained on.
        augmentation: None leaves images as they are.

    Raises:
        DataError: Images that are not of the task, or fewer than one batch.
    """

    task: ImageClassification
    images: LabelledImages
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        RecipeFit.__post_init__(self)
        self.task.to_input(self.images.images[:1])
        self.task.to_targets(self.images.labels)

    def batches(self, seed: int) -> TrainingData:
        """Returns the batches of one training."""
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
