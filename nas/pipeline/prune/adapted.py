"""NetAdapt as a method of `nas prune`: networks on the way down are validated as they are."""

from dataclasses import replace

from nas.core.arch import Arch
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.choosing import Pruner
from nas.pipeline.prune.space import require_choices
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget
from supernets.tas.methods.netadapt import Judge, NetAdapt
from supernets.tas.subject import Subject
from supernets.timm.elastic import MULTIPLE
from supernets.timm.supernet import TimmSupernet


def inner_space(work: Work) -> Work:
    """Returns the same work in a space of widths within blocks, and depths.

    Without training, a network that loses channels of what its residual blocks add to is no good.

    Raises:
        InputError: Nothing is left to prune.
    """
    config = work.config.model_copy(update={
        "width": (1.0,), "nearest": True, "multiple": work.request.multiple or MULTIPLE})
    elastic = config.elastic(work.supernet.elastic.facts)
    require_choices(work.request, elastic.space.size)
    supernet = TimmSupernet(work.supernet.model, elastic, work.opened.task).eval()
    return replace(work, config=config, supernet=supernet)


def netadapt(work: Work, budget: Budget, *, name: str, watch: Watcher) -> Pruner:
    """Searches on the unpruned network's weights (arXiv 1804.03230), without training.

    Every candidate is validated on all images of the search split. How many there are is not known
    beforehand: the progress is that towards the most of one way down.
    """
    method, stage = NetAdapt(), f"search {name}"
    most = method.steps * len(budget.cost.space.genes)

    def told(done: int) -> None:
        watch(Event(stage, done, max(done + 1, most)))

    judge = Judge(work.supernet, on_loss=told)

    def choose(asked: Budget) -> Arch:
        found = method.path(Subject(
            supernet=work.supernet, budget=asked, seed=work.request.seed), judge)[-1]
        done = len(judge.losses)
        watch(Event(stage, done, done, f"loss {found.loss:.3f} before training"))
        return found.arch

    return Pruner(choose=choose)
