"""Trains the feature net on labelled images, as any plain network is trained here."""

from collections.abc import Callable

import numpy as np
import torch

from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced
from supernets.training.data import Augmentation, TrainingData
from supernets.training.plain import BATCH_SIZE, PlainTraining
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
                     batch_size: int = BATCH_SIZE, device: torch.device | None = None,
                     progress: Callable[[int], None] | None = None) -> FeatureClassifier:
    """Returns a trained feature net in evaluation mode.

    It is a pure function of its arguments on a CPU with a number of threads.

    Args:
        config: Sizes.
        images: Trained on; a balanced subset of them sets the batch norms.
        recipe: How; its seed draws the initial weights too.
        batch_size: Of each step.
        device: Where it trains.
        progress: Called with the number of epochs done after each.

    Raises:
        DataError: Fewer images than one batch, images of another size or a label without a class.
        EvaluationError: A loss that is not finite, or not enough memory.
    """
    rng = np.random.default_rng(recipe.seed)
    calibration = balanced(images, min(_CALIBRATION, len(images.labels)), rng) \
        if len(images.labels) > _CALIBRATION else images
    task = image_task(config, {"train_calib": calibration}, device=device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = FeatureClassifier(config).to(task.device)
    data = TrainingData(task=task, data=images, batch_size=batch_size, seed=recipe.seed,
                        augmentation=AUGMENTATION)
    training = PlainTraining(net, task=task, data=data, recipe=recipe)
    trained = net
    for epoch in range(recipe.epochs):
        found = training.advance()
        assert isinstance(found, FeatureClassifier)
        trained = found
        if progress is not None:
            progress(epoch + 1)
    return trained.eval()
