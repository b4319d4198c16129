"""The first stage of a VAR's training: a classifier whose features tell real images from made ones.

A kill costs an epoch at most.
"""

from collections.abc import Callable

import torch

from nas.core.errors import DataError
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_var_images import VarImages
from nas.pipeline.train_var_nets import round_to_half
from supernets.training.plain import BATCH_SIZE
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.classifier_training import default_recipe, image_task, train_classifier
from supernets.var.metrics import FeatureStatistics, feature_statistics

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
    net = train_classifier(
        config, images.training, recipe=default_recipe(seed=request.seed),
        batch_size=min(BATCH_SIZE, len(images.training.labels)),
        calibration=images.validated["train_calib"], device=images.task.device,
        checkpoint=request.prepared["classifier"], on_epoch=on_epoch)
    round_to_half(net)  # as it is stored, so that statistics are of the same features
    return net.requires_grad_(False)


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
