"""N2N as a method of `nas prune`: what a policy draws is trained for an epoch and rewarded."""

from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from nas.core.arch import Arch
from nas.evaluation.trained import TrainedEvaluator
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.choosing import Pruner
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget, best_within
from supernets.tas.methods.n2n import N2N
from supernets.tas.subject import Subject
from supernets.training.distill import TeacherLoss

LOG = "rewards.json"
DRAWS = "drawn"  # folder of the networks that were drawn
REMOVALS = 3 / 8  # of all draws; the rest shrinks
LEAST_DRAWS = 8


def n2n(work: Work, budget: Budget, *, name: str, watch: Watcher) -> Pruner:
    """Searches by reinforcement (arXiv 1709.06030), one epoch of training for each drawn network.

    As many networks are drawn as other searches have epochs, so that all cost about the same.
    Each starts with the unpruned network's weights and learns from that network.

    Raises:
        InputError: No network that was drawn can be within the budget.
        EvaluationError: A loss that is not finite, or not enough memory.
        OSError: A file cannot be written.
    """
    request, task = work.request, work.opened.task
    folder = work.folder.method(name)
    folder.mkdir(parents=True, exist_ok=True)
    draws = max(LEAST_DRAWS, request.search_epochs or request.epochs)
    removals = max(1, round(REMOVALS * draws))
    fit = work.fit(inherited=True, start=None, watch=lambda _: None, stage="",
                   criterion=TeacherLoss(teacher=work.unpruned()), epochs=1)
    evaluator = TrainedEvaluator(work.supernet, fit, folder=folder / DRAWS, seed=request.seed)
    with closing(fit), work.threads():
        found = N2N(
            accuracy=lambda arch: _accuracy(evaluator(arch)), removals=removals,
            unpruned_accuracy=_accuracy(task.metrics(work.unpruned(), task.batches("search"))),
            shrinkages=max(1, draws - removals), log=folder / LOG,
            on_reward=lambda done, total, reward: watch(Event(
                f"search {name}", done, total, f"reward {reward:.3f}")),
        )(Subject(supernet=work.supernet, budget=budget, seed=request.seed))
    wanted = _around(work, found)
    return Pruner(choose=lambda asked: found if asked.limit == budget.limit
                  else best_within(asked, wanted))


def _accuracy(metrics: Mapping[str, float]) -> float:
    return 1.0 - metrics["error"] / 100.0


def _around(work: Work, arch: Arch) -> dict[str, Sequence[float]]:
    # What is nearest to an architecture is wanted most.
    code = work.supernet.space.encode([arch])[0]
    return {gene.name: (-np.abs(np.arange(len(gene.choices)) - code[place])).astype(float).tolist()
            for place, gene in enumerate(work.supernet.space.genes)}
