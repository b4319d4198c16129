"""The weights of the network that is to be pruned: given, or trained here."""

from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.models import get_pretrained_cfg
from torch import nn

from nas.core.errors import InputError
from nas.evaluation.trained import TrainedEvaluator
from nas.pipeline.device import image_workers, one_thread
from nas.pipeline.distilled import Distilled
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.folder import PruneDir
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.train_timm import SMALL_SIDE
from nas.pipeline.training_images import TrainingImages
from supernets.tasks.timm_images import Opened
from supernets.timm.config import TimmConfig
from supernets.timm.create import create_model
from supernets.timm.supernet import TimmSupernet
from supernets.timm.weight_files import class_count, read_weights
from supernets.training.distill import Criterion, LabelLoss
from supernets.training.image_batches import ImageBatches


def unpruned_model(request: PruneRequest, config: TimmConfig, watch: Watcher
                   ) -> tuple[nn.Module, bool]:
    """Returns the model, and whether its weights are those of a network for these classes.

    Raises:
        InputError: Unknown model, or weights that cannot be had or are of other classes.
    """
    told: list[str] = []
    if request.weights is not None:
        _check_classes(request.weights, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        model = create_model(config.model, num_classes=config.classes, in_chans=config.channels,
                             img_size=config.side, weights=request.weights,
                             pretrained=request.pretrained, notice=told.append)
    for line in told:
        watch(Event("model", 0, 1, line))
    return model, (request.weights is not None or request.pretrained) and not told


def _check_classes(file: Path, config: TimmConfig) -> None:
    facts: Any = get_pretrained_cfg(config.model)
    found = class_count(read_weights(file), facts.classifier)
    if found not in (None, config.classes):
        raise InputError(f"--weights {file} are of a network with {found} classes, and the images "
                         f"have {config.classes}; give weights of a network that was trained on "
                         "them, or leave --weights out: then one is trained here")


def weights_line(request: PruneRequest, *, has_head: bool) -> str:
    """Returns where the unpruned network's weights come from."""
    if request.weights is not None:
        return f"of {request.weights.name}"
    start = "timm's weights" if request.pretrained else "scratch"
    return start if has_head else f"trained for {request.epochs} epochs from {start}"


def train_largest(request: PruneRequest, folder: PruneDir, supernet: TimmSupernet,
                  opened: Opened, watch: Watcher) -> None:
    """Trains a supernet's largest network, where it is not yet, and puts it into its model.

    Raises:
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: A file cannot be written.
    """
    fit = plain_fit(request, opened, inherited=request.pretrained, watch=watch, stage="unpruned",
                    criterion=LabelLoss(smoothing=0.0))
    evaluator = TrainedEvaluator(supernet, fit, folder=folder.unpruned_training,
                                 seed=request.seed)
    with closing(fit), threads(opened.task.preprocessing.input_shape[1]):
        trained = evaluator.network(supernet.space.extreme(largest=True))
    supernet.model.load_state_dict(trained.state_dict())


def plain_fit(request: PruneRequest, opened: Opened, *, inherited: bool, criterion: Criterion,
              watch: Watcher, stage: str) -> Distilled:
    """Returns how single networks are trained; see `nas.pipeline.prune.work.Work.fit`."""
    task, training = opened.task, opened.training
    augmentation = request.images().augmentation
    images = TrainingImages(
        described=f"{len(training)} images",
        batches=lambda batch_size, seed: ImageBatches(
            task=task, data=training, batch_size=batch_size, seed=seed, augmentation=augmentation,
            workers=image_workers(request.workers, task.device)))
    steps = request.epochs * images.batches(request.batch_size, 0).checked_steps_per_epoch()
    return Distilled(
        task=task, images=images, batch_size=request.batch_size,
        recipe=request.recipe(inherited=inherited), criterion=criterion, start=None,
        on_step=lambda step: watch(Event(stage, step + 1, steps)))


def threads(side: int) -> AbstractContextManager[None]:
    """Returns the context of training on images of a side."""
    return one_thread() if side <= SMALL_SIDE else nullcontext()
