"""The network that is to be pruned, with its images and its weights, ready for every method."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.evaluation.trained import TrainedEvaluator
from nas.execution.process import usable_cores
from nas.pipeline.device import image_workers, one_thread, torch_device
from nas.pipeline.distilled import Distilled
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.folder import PruneDir
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.prune.space import prune_config, require_choices
from nas.pipeline.train_timm import SMALL_SIDE
from nas.pipeline.train_timm_images import check_test_images, look_at_images, say_unreadable
from nas.pipeline.training_images import TrainingImages
from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.timm_images import Opened
from supernets.timm.config import TimmConfig
from supernets.timm.create import check_name, create_model
from supernets.timm.make import make_supernet
from supernets.timm.stored import Images
from supernets.timm.supernet import TimmSupernet
from supernets.training.distill import Criterion, LabelLoss
from supernets.training.image_batches import ImageBatches


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What every method prunes.

    Attributes:
        request: As asked for.
        folder: Of the work.
        config: Of the space.
        images: Where they are from.
        opened: The images.
        supernet: The space with the unpruned network's weights, the most important units first.
        weights: Where these come from, for people.
    """

    request: PruneRequest
    folder: PruneDir
    config: TimmConfig
    images: Images
    opened: Opened
    supernet: TimmSupernet
    weights: str

    @property
    def largest(self) -> Arch:
        """The architecture of the unpruned network."""
        return self.supernet.space.extreme(largest=True)

    def unpruned(self) -> nn.Module:
        """Returns the unpruned network, in evaluation mode."""
        return self.supernet.extract(self.largest)

    def threads(self) -> AbstractContextManager[None]:
        """The context of its trainings: how many CPU threads torch has."""
        return threads(self.config.side)

    def fit(self, *, inherited: bool, start: Mapping[str, Tensor] | None, criterion: Criterion,
            watch: Watcher, stage: str, epochs: int | None = None) -> Distilled:
        """Returns how its networks are trained.

        Args:
            inherited: Whether they start with good weights.
            start: Which; None: those that they have.
            criterion: What they learn from.
            watch: Is told of every step.
            stage: Of these events.
            epochs: Of each training; None: as the request has it.

        Raises:
            InputError: An optimizer that is not known.
            DataError: Fewer images than one batch.
        """
        request = self.request if epochs is None else self.request.model_copy(
            update={"epochs": epochs})
        fit = _fit(request, self.opened, inherited=inherited, criterion=criterion,
                   watch=watch, stage=stage)
        return replace(fit, start=start)


def threads(side: int) -> AbstractContextManager[None]:
    """Returns the context of training on images of a side."""
    return one_thread() if side <= SMALL_SIDE else nullcontext()


def prepare(request: PruneRequest, folder: PruneDir, watch: Watcher) -> Work:
    """Returns the work: images checked, the unpruned network trained if it is not yet.

    Raises:
        InputError: Unknown model, unusable data or weights, or nothing to prune.
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: The folder cannot be written.
    """
    request.recipe(inherited=False)  # fails before anything is read
    check_name(request.name)
    images, preprocessing, classes = look_at_images(request.images(), request.name)
    channels, side, _ = preprocessing.input_shape
    config = prune_config(request, classes=classes, channels=channels, side=side)
    model, has_head = _model(request, config, watch)
    facts = config.facts(model)
    require_choices(request, config.elastic(facts).space.size)
    opened = _open(request, folder, images, preprocessing, classes, watch)
    folder.begin(request)  # from here on something is kept
    device = opened.task.device
    model.to(device=device).to(memory_format=torch.channels_last)
    weights = _weights_line(request, has_head=has_head)
    if not has_head:
        _train(request, folder, TimmSupernet(model, config.elastic(facts), opened.task),
               opened, watch)
    make_supernet(model, config, opened.task)  # sorts the model's units
    # Its order of dropping blocks is left: here they go from the end of a stage.
    supernet = TimmSupernet(model, config.elastic(facts), opened.task).eval().to(device=device)
    watch(Event("model", 1, 1, f"{supernet.space.size:.2g} networks, from "
                               f"{len(supernet.space.genes)} choices each"))
    return Work(request=request, folder=folder, config=config, images=images, opened=opened,
                supernet=supernet, weights=weights)


def _model(request: PruneRequest, config: TimmConfig, watch: Watcher) -> tuple[nn.Module, bool]:
    # The model, and whether its weights are those of a network for these classes.
    told: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        model = create_model(config.model, num_classes=config.classes, in_chans=config.channels,
                             img_size=config.side, weights=request.weights,
                             pretrained=request.pretrained, notice=told.append)
    for line in told:
        watch(Event("model", 0, 1, line))
    return model, (request.weights is not None or request.pretrained) and not told


def _weights_line(request: PruneRequest, *, has_head: bool) -> str:
    if request.weights is not None:
        return f"of {request.weights.name}"
    start = "timm's weights" if request.pretrained else "scratch"
    return start if has_head else f"trained for {request.epochs} epochs from {start}"


def _open(request: PruneRequest, folder: PruneDir, images: Images, preprocessing: Preprocessing,
          classes: int, watch: Watcher) -> Opened:
    request.images().augmentation.transform(preprocessing)  # fails before every image is read
    folder.path.mkdir(parents=True, exist_ok=True)
    opened = images.open(folder.path, preprocessing, classes=classes, device=torch_device(),
                         download=request.download, threads=usable_cores(),
                         on_image=_some(watch))
    say_unreadable(opened, watch)
    check_test_images(opened)
    return opened


def _train(request: PruneRequest, folder: PruneDir, supernet: TimmSupernet, opened: Opened,
           watch: Watcher) -> None:
    # Trains the supernet's largest network, and puts the result into its model.
    fit = _fit(request, opened, inherited=request.pretrained, watch=watch, stage="unpruned",
               criterion=LabelLoss(smoothing=0.0))
    evaluator = TrainedEvaluator(supernet, fit, folder=folder.unpruned_training,
                                 seed=request.seed)
    with closing(fit), threads(opened.task.preprocessing.input_shape[1]):
        trained = evaluator.network(supernet.space.extreme(largest=True))
    missing, unexpected = supernet.model.load_state_dict(trained.state_dict(), strict=False)
    if missing or unexpected:
        raise InputError(f"{request.model} is not its own largest network ({[*missing][:1]}); it "
                         "cannot be pruned")


def _fit(request: PruneRequest, opened: Opened, *, inherited: bool, criterion: Criterion,
         watch: Watcher, stage: str) -> Distilled:
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


def _some(watch: Watcher) -> Callable[[int, int], None]:
    # Each image is looked at for a millisecond or so: telling of each would take as long.
    def told(done: int, total: int) -> None:
        if done % 64 == 0 or done == total:
            watch(Event("images", done, total))

    return told
