"""Trained evaluation: what a search trains on, and the networks that it exports."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.protocols import Supernet
from nas.evaluation.fresh import check_can_initialise
from nas.evaluation.trained import TrainedEvaluator
from nas.pipeline.config import SearchConfig
from nas.pipeline.train_request import AUGMENTATION
from nas.pipeline.training_images import classification_images, image_set
from nas.pipeline.usual import PRETRAINED, SCRATCH
from supernets.tasks.image_classification import ImageClassification
from supernets.tasks.timm_images import TimmImages
from supernets.training.plain import PlainFit, RecipeFit
from supernets.training.recipe import Recipe
from supernets.training.timm_fit import TimmFit

FOLDER = "training"  # in the run folder: see nas.evaluation.training_files

# Peaks that did best on the shipped supernet: docs/benchmarks/trained.json.
LEARNING_RATES = {"inherited": 0.005, "scratch": 0.2}
WARM_UP = 0.1  # of all epochs


def trained_evaluator(config: SearchConfig, supernet: Supernet, run_dir: Path, *,
                      costs: Callable[[Arch], Mapping[str, float]] | None = None
                      ) -> TrainedEvaluator:
    """Returns the evaluator of a search with ``--evaluation trained``.

    Networks are trained on the training images in `config.data`, or else on the supernet's own,
    or on ``train_calib`` where it has none at hand.

    Raises:
        InputError: A supernet whose task is not image classification, or whose networks cannot
            start from scratch.
        DataError: Images that cannot be used, or are validated or tested on.
    """
    if config.train_from == "scratch":
        check_can_initialise(supernet.extract(supernet.space.extreme(largest=True)))
    return TrainedEvaluator(
        supernet, _fit(config, supernet), folder=run_dir / FOLDER, seed=config.seed,
        from_=config.train_from, costs=costs, objectives=config.objective_values())


def _fit(config: SearchConfig, supernet: Supernet) -> RecipeFit:
    task, epochs = supernet.task, config.train_epochs
    if isinstance(task, ImageClassification):
        images = classification_images(task, config.data)
        return PlainFit(task=task, images=images, recipe=Recipe(
            epochs=epochs, warmup_epochs=WARM_UP * epochs,
            learning_rate=config.train_lr or LEARNING_RATES[config.train_from]))
    if isinstance(task, TimmImages):
        usual = PRETRAINED if config.train_from == "inherited" else SCRATCH
        optimizer = usual.optimizer
        return TimmFit(
            task=task, images=image_set(task, config.data), augmentation=AUGMENTATION,
            batch_size=usual.batch_size, recipe=Recipe(
                epochs=epochs, warmup_epochs=WARM_UP * epochs, optimizer=optimizer,
                learning_rate=config.train_lr or usual.learning_rates[optimizer],
                weight_decay=usual.weight_decays[optimizer]))
    raise InputError(f"--evaluation trained can train image classifiers, and the task of "
                     f"{config.supernet} is {type(task).__name__}; use --evaluation inherited")


def networks(config: SearchConfig, supernet: Supernet,
             run_dir: Path) -> Callable[[Arch], nn.Module]:
    """Returns what gives the networks of a search as they were validated.

    Raises:
        InputError, DataError: As for `trained_evaluator`.
    """
    if config.evaluation == "trained":
        return trained_evaluator(config, supernet, run_dir).network
    return inherited_networks(supernet)


def inherited_networks(supernet: Supernet) -> Callable[[Arch], nn.Module]:
    """Returns what gives networks with the supernet's weights."""
    return lambda arch: supernet.recalibrated(arch, supernet.task.batches("train_calib"))


def weights_line(config: SearchConfig) -> str:
    """Returns where the weights of a search's networks come from."""
    if config.evaluation == "inherited":
        return "inherited"
    start = "inherited weights" if config.train_from == "inherited" else "scratch"
    return f"trained for {config.train_epochs} epochs from {start}"
