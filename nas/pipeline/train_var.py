"""`nas train` of a supernet that generates images: images → a supernet folder.

Four stages, each with a checkpoint of its own: a classifier whose features tell how real generated
images are, the VQVAE, all images as token maps, and the transformer with its depths.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from nas.core.errors import DataError
from nas.pipeline.device import torch_device
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_job import TrainJob, provenance
from nas.pipeline.train_origin import OF_VQVAE
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_usual import recipe
from nas.pipeline.train_var_features import (
    check_held_out,
    classifier_figures,
    real_statistics,
    trained_classifier,
)
from nas.pipeline.train_var_figures import split_maps, vae_figures, var_figures
from nas.pipeline.train_var_images import TRAINING, VarImages, read_images
from nas.pipeline.train_var_nets import (
    check_codes,
    configs_of,
    for_classes,
    round_to_half,
    start_vae,
    start_var,
)
from nas.pipeline.train_var_tokens import made_tokens
from nas.pipeline.train_var_usual import phases, vae_recipe
from supernets.tasks.visual_generation import TokenMaps
from supernets.training.data import TrainingData
from supernets.training.trainer import Progress, TrainConfig
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.depth_schedule import DepthSchedule
from supernets.var.stored import save_supernet
from supernets.var.supernet import VarSupernet
from supernets.var.training import TokenBatches, train_depths
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_training import VaeLoss, train_vae


def prepare(request: TrainRequest, origin: Mapping[str, Any], watch: Watcher) -> TrainJob:
    """Returns a training that can be run: files of weights read, images looked at.

    Args:
        request: With usual values.
        origin: `Trainer.origin`.
        watch: Is told of each image and of every step.

    Raises:
        InputError: Unusable data or weights, or values that do not go together.
    """
    preset, of_vae = configs_of(request.supernet)
    how = recipe(request)
    first = None if request.vae is not None else vae_recipe(request)
    device = torch_device()
    vae = start_vae(request, of_vae)
    if request.weights is not None:
        check_codes(request.weights, vae)
    images = read_images(request, of_vae, watch, device=device)
    config = for_classes(preset, request.supernet, len(images.task.labels))
    features = ClassifierConfig.of(config, of_vae)
    check_held_out(features, images)
    net = start_var(request, config)
    schedule = DepthSchedule(
        config=config, phases=phases(request, config), draw=request.depth_draw,
        steps_per_epoch=_updates(request, images), distilled=request.distill)
    training = _Training(request=request, origin=origin, watch=watch, how=how, first=first,
                         features=features, vae=vae.to(device), net=net.to(device), images=images,
                         schedule=schedule)
    return TrainJob(run=training.run, save=training.save, threads=nullcontext)


def _updates(request: TrainRequest, images: VarImages) -> int:
    # Of the transformer in an epoch. What would end its stage, or the one before, ends it here.
    assert request.batch_size is not None  # usual values have it
    batches, _ = (TrainingData(task=images.task, data=images.training, batch_size=size, seed=0,
                               augmentation=None).checked_steps_per_epoch()
                  for size in (request.batch_size, request.vae_batch_size or 1))
    if request.accumulation > batches:
        raise DataError(f"--accumulation {request.accumulation}: an epoch has {batches} batches; "
                        "accumulate fewer")
    return batches // request.accumulation


@dataclass(kw_only=True)
class _Training:
    """All stages, and what they leave for the folder."""

    request: TrainRequest
    origin: Mapping[str, Any]
    watch: Watcher
    how: TrainConfig
    first: TrainConfig | None
    features: ClassifierConfig
    vae: MultiScaleVqvae
    net: VarSupernet
    images: VarImages
    schedule: DepthSchedule
    classifier: FeatureClassifier | None = None
    maps: Mapping[str, TokenMaps] = field(default_factory=dict)

    def run(self) -> None:
        """Runs the stages that are not finished, and says after three of them how good it is.

        Raises:
            DataError, InputError, EvaluationError, OSError: See `Trainer.run`.
        """
        self.classifier = trained_classifier(
            self.request, self.features, self.images, on_epoch=self._told("classifier"))
        self._say(1, classifier_figures(self.classifier, self.images))
        if self.first is not None:
            self._train_vae(self.first)
        round_to_half(self.vae.eval().requires_grad_(False))  # tokens are those of what is stored
        self._say(2, vae_figures(self.vae, self.images))
        self._make_tokens()
        self._train_depths()
        self._say(3, var_figures(self.net, self.vae, self.maps))

    def save(self) -> None:
        """Writes the supernet folder; all stages have run.

        Raises:
            OSError: A file cannot be written.
        """
        assert self.classifier is not None
        save_supernet(
            self.request.out, self.net, self.vae, self.classifier, split_maps(self.maps),
            real_statistics(self.classifier, self.images),
            {**provenance(self.request), "arguments": dict(self.origin),
             "images": self.images.described(),
             "labels": list(self.images.task.labels)})

    def _train_vae(self, how: TrainConfig) -> None:
        batch = self.request.vae_batch_size
        assert batch is not None  # usual values have it
        assert self.classifier is not None
        data = TrainingData(task=self.images.task, data=self.images.training, batch_size=batch,
                            seed=self.request.seed, augmentation=None)
        weight = self.request.vae_perceptual or 0.0
        loss = VaeLoss(perceptual=weight, features=self.classifier.maps if weight else None)
        train_vae(self.vae, data, config=how, checkpoint=self.request.prepared["vqvae"], loss=loss,
                  origin={name: self.origin[name] for name in OF_VQVAE},
                  on_step=self._step("VQVAE"))

    def _make_tokens(self) -> None:
        batch = self.request.batch_size
        assert batch is not None
        self.maps = made_tokens(
            self.vae, self.images, self.request.prepared["tokens"], batch_size=batch,
            checkpoint_s=self.request.checkpoint_s,
            on_image=self._told("tokens"))

    def _train_depths(self) -> None:
        batch = self.request.batch_size
        assert batch is not None
        data = TokenBatches(vae=self.vae, maps=self.maps[TRAINING], batch_size=batch,
                            seed=self.request.seed)
        train_depths(self.net, data, self.schedule, config=self.how,
                     checkpoint=self.request.checkpoint, origin=self.origin,
                     on_step=self._step("transformer"))

    def _step(self, stage: str) -> Callable[[Progress], None]:
        def told(progress: Progress) -> None:
            epoch = progress.step / progress.steps_per_epoch
            self.watch(Event(stage, progress.step, progress.total_steps,
                             f"epoch {epoch:.1f}, loss {progress.loss:.3f}"))

        return told

    def _told(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.watch(Event(stage, done, total))

    def _say(self, stage: int, line: str) -> None:
        self.watch(Event("validation", stage, 3, line))
