"""The gradient search as a method of `nas prune`."""

import copy
from collections.abc import Mapping
from contextlib import ExitStack, closing

import numpy as np
from torch import Tensor

from nas.core.arch import Arch
from nas.core.rng import derive_rng
from nas.pipeline.device import image_workers
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.choosing import Pruner
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget, best_within
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import SearchedEpoch, TasConfig, TasSearch
from supernets.tasks.splits import half_positions
from supernets.timm.supernet import TimmSupernet
from supernets.training.image_batches import ImageBatches

CHECKPOINT = "search.pt"
_LEAST = 1e-12  # a probability whose logarithm is finite


def tas(work: Work, budget: Budget, *, name: str, watch: Watcher) -> Pruner:
    """Searches by gradient descent, from the unpruned network's weights (arXiv 1905.09717).

    Half of each class's training images train weights, the other half the architecture. The
    search is made once; what it has learnt then chooses for any limit near the first one.

    Raises:
        InputError: A width without a batch norm.
        DataError: Fewer images than two batches, or a checkpoint of another search.
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: A file cannot be written.
    """
    request, supernet, task = work.request, work.supernet, work.opened.task
    relaxed = Relaxed(supernet.model, supernet.elastic).to(device=task.device)
    epochs = request.search_epochs or request.epochs
    with ExitStack() as stack:
        weights, choices = (stack.enter_context(closing(batches)) for batches in _halves(work))
        told = _Told(f"search {name}", watch)
        stack.enter_context(work.threads())
        found = TasSearch(
            relaxed=relaxed, task=task, weights=weights, choices=choices, budget=budget,
            config=TasConfig(epochs=epochs, seed=request.seed),
            checkpoint=work.folder.method(name) / CHECKPOINT, on_step=told.step,
            on_epoch=told.epoch).run()
    wanted = {gene: np.log(np.maximum(values, _LEAST)).tolist()
              for gene, values in found.probabilities.items()}

    def inherit(arch: Arch) -> Mapping[str, Tensor]:
        model = copy.deepcopy(supernet.model)
        found.relaxed.copy_into(model, arch)
        weights: Mapping[str, Tensor] = TimmSupernet(
            model, supernet.elastic, task).extract(arch).state_dict()
        return weights

    return Pruner(choose=lambda asked: best_within(asked, wanted), inherit=inherit)


class _Told:
    """What whoever watches is told of a search."""

    def __init__(self, stage: str, watch: Watcher) -> None:
        self._stage, self._watch, self._note = stage, watch, ""

    def step(self, done: int, total: int) -> None:
        self._watch(Event(self._stage, done, total, self._note))

    def epoch(self, found: SearchedEpoch) -> None:
        self._note = (f"loss {found.loss:.3f}, cost {found.cost:.4g}, "
                      f"certainty {found.certainty:.0%}")


def _halves(work: Work) -> tuple[ImageBatches, ImageBatches]:
    request, opened = work.request, work.opened
    first, second = half_positions(opened.training.labels,
                                   derive_rng(request.seed, "halves of the training images"))
    made = [ImageBatches(
        task=opened.task, data=opened.training.take(rows), batch_size=request.batch_size,
        seed=request.seed, augmentation=request.images().augmentation,
        workers=image_workers(request.workers, opened.task.device)) for rows in (first, second)]
    return made[0], made[1]

