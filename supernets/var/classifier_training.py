"""Trains the feature net on labelled images, as any plain network is trained here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced
from supernets.training.checkpoint import Checkpoint
from supernets.training.data import Augmentation
from supernets.training.plain import BATCH_SIZE, PlainFit
from supernets.training.recipe import Recipe
from supernets.var.classifier import ClassifierConfig, FeatureClassifier

# Mirror images alone: what is generated is neither shifted nor cut.
AUGMENTATION = Augmentation(shift=0, flip=True, erase=0.0)
_CALIBRATION = 2048  # images for batch norm, or all


def default_recipe(epochs: int = 4, *, seed: int = 0) -> Recipe:
    """Returns how a feature net is trained."""
    return Recipe(epochs=epochs, learning_rate=0.1, warmup_epochs=min(0.5, epochs / 4),
                  weight_decay=5e-4, label_smoothing=0.0, seed=seed)


def image_task(config: ClassifierConfig, splits: dict[str, LabelledImages], *,
               batch_size: int = 256,
               device: torch.device | None = None) -> ImageClassification:
    """Returns the task of a feature net, whose inputs are pixels in −1 … 1, as a VQVAE's are."""
    size = config.image_size
    return ImageClassification(
        labels=tuple(str(label) for label in range(config.classes)),
        input_shape=(config.image_channels, size, size), mean=0.5, std=0.5, splits=splits,
        batch_size=batch_size, device=device or torch.device("cpu"))


def train_classifier(config: ClassifierConfig, images: LabelledImages, *, recipe: Recipe,
                     batch_size: int = BATCH_SIZE, calibration: LabelledImages | None = None,
                     device: torch.device | None = None, checkpoint: Path | None = None,
                     on_epoch: Callable[[int, int], None] | None = None) -> FeatureClassifier:
    """Returns a trained feature net in evaluation mode, from its checkpoint if there is one.

    It is a pure function of its arguments on a CPU with a number of threads, stopped or not.

    Args:
        config: Sizes.
        images: Trained on.
        recipe: How; its seed draws the initial weights too.
        batch_size: Of each step.
        calibration: Sets the batch norms; None: a balanced subset of the images.
        device: Where it trains.
        checkpoint: File of the state after each epoch; None: none is kept.
        on_epoch: Called with the epochs done and those in all, at the start and after each.

    Raises:
        DataError: Fewer images than one batch, images of another size or a label without a class;
            or a checkpoint that is damaged or of another training.
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: The checkpoint cannot be written.
    """
    task = image_task(config, {"train_calib": calibration or _some(images, recipe.seed)},
                      device=device)
    fit = PlainFit(task=task, recipe=recipe, images=images, augmentation=AUGMENTATION,
                   batch_size=batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = FeatureClassifier(config)
    training = fit(net, seed=recipe.seed)
    found: dict[str, Any] = {}
    kept = None if checkpoint is None else Checkpoint(path=checkpoint, identity={
        "seed": recipe.seed, "classifier": repr(config), **fit.identity()})

    def load(state: Mapping[str, Any]) -> None:
        training.load(state["training"])
        found.update(state["result"])

    if kept is not None:
        kept.read(load)
    told = on_epoch or (lambda _done, _total: None)
    told(training.done, recipe.epochs)
    while training.done < recipe.epochs:
        found = training.advance().state_dict()
        if kept is not None:
            kept.write({"training": training.state(), "result": found})
        told(training.done, recipe.epochs)
    net.load_state_dict(found)
    return net.eval()


def _some(images: LabelledImages, seed: int) -> LabelledImages:
    if len(images.labels) <= _CALIBRATION:
        return images
    return balanced(images, _CALIBRATION, np.random.default_rng(seed))
