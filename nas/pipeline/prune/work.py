"""The network that is to be pruned, with its images and its weights, ready for every method."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.execution.process import usable_cores
from nas.pipeline.device import torch_device
from nas.pipeline.distilled import Distilled
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.costs import require_reachable
from nas.pipeline.prune.folder import PruneDir
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.prune.space import prune_config, require_choices
from nas.pipeline.prune.start import (
    plain_fit,
    threads,
    train_largest,
    unpruned_model,
    weights_line,
)
from nas.pipeline.train_timm_images import check_test_images, look_at_images, say_unreadable
from supernets.card import CARD
from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.timm_images import Opened
from supernets.timm.config import TimmConfig
from supernets.timm.create import check_name
from supernets.timm.make import make_supernet
from supernets.timm.stored import Images, save_supernet
from supernets.timm.supernet import TimmSupernet
from supernets.training.distill import Criterion


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
        fit = plain_fit(request, self.opened, inherited=inherited, criterion=criterion,
                        watch=watch, stage=stage)
        return replace(fit, start=start)


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
    model, has_head = unpruned_model(request, config, watch)
    elastic = config.elastic(config.facts(model))
    require_choices(request, elastic.space.size)
    opened = _open(request, folder, images, preprocessing, classes, watch)
    model.to(device=opened.task.device).to(memory_format=torch.channels_last)
    supernet = TimmSupernet(model, elastic, opened.task).eval()
    require_reachable(request, folder, supernet, watch)
    folder.begin(request)
    weights = weights_line(request, has_head=has_head)
    if not has_head:
        train_largest(request, folder, supernet, opened, watch)
    # Sorts the model's units. Its order of dropping blocks is left: they go from a stage's end.
    make_supernet(model, config, opened.task)
    work = Work(request=request, folder=folder, config=config, images=images, opened=opened,
                supernet=supernet, weights=weights)
    _save(work)
    watch(Event("model", 1, 1, f"{supernet.space.size:.2g} networks, from "
                               f"{len(supernet.space.genes)} choices each"))
    return work


def _save(work: Work) -> None:
    # The space as a supernet folder, so that any searcher can search it, too.
    folder = work.folder.supernet
    if not (folder / CARD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_supernet(folder, work.supernet, work.config, work.opened.task, work.images,
                      {"made_by": "nas prune", "weights": work.weights})


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


def _some(watch: Watcher) -> Callable[[int, int], None]:
    # Each image is looked at for a millisecond or so: telling of each would take as long.
    def told(done: int, total: int) -> None:
        if done % 64 == 0 or done == total:
            watch(Event("images", done, total))

    return told
