"""The first stage of a VAR's training: a classifier whose features tell real images from made ones.

A kill costs an epoch at most.
"""

from collections.abc import Callable
from typing import Any

import torch

from nas.core.errors import DataError
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_var_images import VarImages
from nas.pipeline.train_var_nets import round_to_half
from supernets.training.checkpoint import Checkpoint
from supernets.training.plain import BATCH_SIZE, PlainFit
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.classifier_training import AUGMENTATION, default_recipe, image_task
from supernets.var.metrics import FeatureStatistics, feature_statistics

_STAGE = "classifier"
_BATCH = 256  # images


def trained_classifier(request: TrainRequest, config: ClassifierConfig, images: VarImages, *,
                       on_epoch: Callable[[int, int], None]) -> FeatureClassifier:
    """Returns the trained classifier in evaluation mode, from its checkpoint if there is one.

    Args:
        request: Says where the checkpoint is, and the seed.
        config: Sizes.
        images: Those to train on, and more.
        on_epoch: Is called with the epochs done and those in all.

    Raises:
        DataError: The checkpoint is damaged or of another training.
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: The checkpoint cannot be written.
    """
    recipe = default_recipe(seed=request.seed)
    fit = PlainFit(task=image_task(config, {"train_calib": images.validated["train_calib"]},
                                   device=images.task.device),
                   recipe=recipe, images=images.training, augmentation=AUGMENTATION,
                   batch_size=min(BATCH_SIZE, len(images.training.labels)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        net = FeatureClassifier(config)
    training = fit(net, seed=request.seed)
    found: dict[str, Any] = {}
    checkpoint = Checkpoint(path=request.prepared[_STAGE], identity={
        "seed": request.seed, "classifier": repr(config), **fit.identity()})

    def load(state: Any) -> None:
        training.load(state["training"])
        found.update(state["result"])

    checkpoint.read(load)
    on_epoch(training.done, recipe.epochs)
    while training.done < recipe.epochs:
        found = training.advance().state_dict()
        checkpoint.write({"training": training.state(), "result": found})
        on_epoch(training.done, recipe.epochs)
    net.load_state_dict(found)
    round_to_half(net)  # as it is stored, so that statistics are of the same features
    return net.eval().requires_grad_(False)


def classifier_figures(net: FeatureClassifier, images: VarImages) -> str:
    """Returns how often it is wrong about held-out images of the search split."""
    task = image_task(net.config, {"search": images.held["search"]}, device=images.task.device)
    error = task.metrics(net, task.batches("search"))["error"]
    return f"classifier of the features: error {error:.1f} %"


def check_held_out(config: ClassifierConfig, images: VarImages) -> None:
    """Checks that there are statistics of the held-out images.

    Raises:
        DataError: There are not more of them than features.
    """
    held, features = sum(len(part.labels) for part in images.held.values()), config.widths[-1]
    if held <= features:
        raise DataError(f"the images leave {held} that are not learnt from, and statistics of "
                        f"{features} features need more than {features}; add images, or hold more "
                        "out in a folder test")


def real_statistics(net: FeatureClassifier, images: VarImages) -> FeatureStatistics:
    """Returns the statistics of all held-out images' features, that generated ones are held to.

    Raises:
        EvaluationError: Features that are not finite.
    """
    features = [net.features(images.task.to_input(part.images[start:start + _BATCH]))
                for part in images.held.values() for start in range(0, len(part.labels), _BATCH)]
    return feature_statistics(net.name, torch.cat(features))
