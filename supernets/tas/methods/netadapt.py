"""NetAdapt: step by step, the layer that can spare most on the network's own weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nas.core.arch import Arch
from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Batch
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from supernets.calibrate import recalibrate
from supernets.tas.budget import Budget
from supernets.tas.subject import Subject
from supernets.timm.supernet import TimmSupernet


@dataclass(frozen=True, slots=True)
class Step:
    """A network on the way down.

    Attributes:
        arch: Of the network.
        cost: As the budget counts.
        loss: On the images of the search split, with the unpruned network's weights.
    """

    arch: Arch
    cost: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class NetAdapt:
    """Narrows or shortens one part of the network after the other (Yang et al., arXiv 1804.03230).

    At each step, for every gene the largest smaller choice is validated that takes off a part of
    what is too much (or its least, if none does), without training and with batch norms measured
    anew; the one is taken that adds the least loss for what it saves. Costs are any, measured
    latency too, and every network on the way is the best found of its cost. At the end choices
    that fit in what is left of the budget are taken back while that lowers the loss.

    The supernet's task is asked for ``train_calib`` and ``search``; its units should be sorted.

    Deviations: depths are genes like widths; loss for the cost instead of accuracy alone, for the
    choices of a space save unequal parts; which channels stay is the order of the supernet; no
    training between steps; what is taken back.

    Attributes:
        steps: Into which the way to the budget is divided; there may be fewer, or some more.

    Raises:
        InputError: Fewer than one step.
    """

    steps: int = 8

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"the way to a budget takes at least 1 step, not {self.steps}")

    def __call__(self, subject: Subject) -> Arch:
        """Returns an architecture within the budget.

        Raises:
            InputError: The budget is not reached.
            DataError: There are no images to validate on.
            EvaluationError: A loss that is not finite.
        """
        return self.path(subject, Judge(subject.supernet))[-1].arch

    def path(self, subject: Subject, judge: "Judge") -> list[Step]:
        """Returns the networks on the way, from the whole one to one within the budget.

        Args:
            subject: What is pruned.
            judge: Of the supernet's networks.

        Raises:
            InputError: The budget is not reached.
            DataError: There are no images to validate on.
            EvaluationError: A loss that is not finite.
        """
        budget, space = subject.budget, subject.budget.cost.space
        now = _step(budget, judge, space.encode([space.extreme(largest=True)])[0])
        least = (now.cost - budget.limit) / self.steps
        found = [now]
        while now.cost > budget.limit:
            tried = [_step(budget, judge, code) for code in _narrower(budget, now, least)]
            if not tried:
                raise InputError(f"no network of {budget.cost.metric} {budget.limit:,.6g} or less "
                                 "was found by one layer at a time; ask for more")
            needed = now.cost - budget.limit  # to save more than that is worth nothing
            price = [(step.loss - now.loss) / min(now.cost - step.cost, needed) for step in tried]
            now = tried[int(np.argmin(price))]
            found.append(now)
        return [*found, *_taken_back(budget, judge, now)]


@dataclass(eq=False)
class Judge:
    """The loss of a supernet's networks; each is validated once.

    Attributes:
        supernet: Whose weights and task are used; the supernet is not written to.
        on_loss: Called after each validation with how many there have been.
        losses: Of the networks that were validated.
    """

    supernet: TimmSupernet
    on_loss: Callable[[int], None] | None = None
    losses: dict[Arch, float] = field(default_factory=dict)
    _batches: tuple[Sequence[Batch], ...] = ()

    def __call__(self, arch: Arch) -> float:
        """Returns the mean loss on the search split.

        Raises:
            DataError: There are no images to validate on.
            EvaluationError: It is not finite.
        """
        if arch not in self.losses:
            self.losses[arch] = self._validated(arch)
            if self.on_loss is not None:
                self.on_loss(len(self.losses))
        return self.losses[arch]

    def _validated(self, arch: Arch) -> float:
        task = self.supernet.task
        if not self._batches:
            self._batches = tuple(tuple(task.batches(split)) for split in ("train_calib", "search"))
        calibration, search = self._batches
        # Channels last, as the images of the task are: that is faster on a CPU.
        network = self.supernet.extract(arch).to(memory_format=torch.channels_last)
        recalibrate(network, calibration)
        total, count = 0.0, 0
        with torch.inference_mode():
            for inputs, targets in search:
                total += float(task.loss(network(inputs), targets)) * len(targets)
                count += len(targets)
        if count == 0:
            raise DataError("there are no images of the search split to validate on; add some")
        if not math.isfinite(total):
            raise EvaluationError(f"the loss of {arch.digest} is not finite; look at the unpruned "
                                  "network's weights")
        return total / count


def _step(budget: Budget, judge: Judge, code: IntArray) -> Step:
    arch = budget.cost.space.decode(code[None])[0]
    return Step(arch, budget.cost.of(arch), judge(arch))


def _narrower(budget: Budget, now: Step, least: float) -> IntArray:
    # Of each gene the largest choice that saves enough, else that which saves most.
    rows = []
    for codes, costs in _moved(budget, now, down=True):
        saved = now.cost - costs
        enough = np.flatnonzero(saved >= min(least, now.cost - budget.limit))
        best = int(enough[0]) if len(enough) else int(saved.argmax())
        if saved[best] > 0:
            rows.append(codes[best])
    return np.array(rows, dtype=CODE_DTYPE)


def _taken_back(budget: Budget, judge: Judge, now: Step) -> list[Step]:
    found: list[Step] = []
    while True:
        rows = [codes[0] for codes, costs in _moved(budget, now, down=False)
                if costs[0] <= budget.limit]
        better = min((_step(budget, judge, code) for code in rows), key=lambda step: step.loss,
                     default=now)
        if better.loss >= now.loss:
            return found
        now = better
        found.append(now)


def _moved(budget: Budget, now: Step, *, down: bool) -> list[tuple[IntArray, FloatArray]]:
    # For each live gene the networks with another choice of it, the nearest first, and their costs.
    space = budget.cost.space
    code = space.encode([now.arch])[0]
    live = space.active(code[None])[0]
    found = []
    for place, gene in enumerate(space.genes):
        choices = (range(int(code[place]) - 1, -1, -1) if down
                   else range(int(code[place]) + 1, len(gene.choices)))
        if live[place] and len(choices):
            codes = np.repeat(code[None], len(choices), axis=0)
            codes[:, place] = choices
            codes = space.canonical_codes(codes)
            found.append((codes, budget.cost.predict(codes)))
    return found
