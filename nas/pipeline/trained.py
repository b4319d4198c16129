"""Trained evaluation: what a search trains on, and the networks that it exports."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.protocols import Supernet
from nas.evaluation.trained import TrainedEvaluator
from nas.pipeline.config import SearchConfig
from nas.pipeline.training_images import classification_images
from supernets.tasks.image_classification import ImageClassification
from supernets.training.plain import PlainFit
from supernets.training.recipe import Recipe

FOLDER = "training"  # in the run folder: see nas.evaluation.training_files

# Peaks that did best on the shipped supernet: docs/benchmarks/trained.json.
LEARNING_RATES = {"inherited": 0.005, "scratch": 0.2}
WARM_UP = 0.1  # of all epochs


def trained_evaluator(config: SearchConfig, supernet: Supernet, run_dir: Path, *,
                      costs: Callable[[Arch], Mapping[str, float]] | None = None
                      ) -> TrainedEvaluator:
    """Returns the evaluator of a search with ``--evaluation trained``.

    Networks are trained on the training images in `config.data`, or else on ``train_calib``.

    Raises:
        InputError: A supernet whose task is not image classification.
        DataError: Images that cannot be used, or are validated or tested on.
    """
    task = supernet.task
    if not isinstance(task, ImageClassification):
        raise InputError(f"--evaluation trained can train image classifiers, and the task of "
                         f"{config.supernet} is {type(task).__name__}; use --evaluation inherited")
    images = classification_images(task, config.data)
    recipe = Recipe(epochs=config.train_epochs, warmup_epochs=WARM_UP * config.train_epochs,
                    learning_rate=config.train_lr or LEARNING_RATES[config.train_from])
    return TrainedEvaluator(
        supernet, PlainFit(task=task, images=images, recipe=recipe), folder=run_dir / FOLDER,
        seed=config.seed, from_=config.train_from, costs=costs,
        objectives=config.objective_values())


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
