"""The gradient search: weights on one half of the images, the architecture on the other."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Task
from nas.core.rng import derive_seed
from supernets.tas.balance import CostLoss
from supernets.tas.budget import Budget, best_within
from supernets.tas.controller import Controller
from supernets.tas.learnt import Learnt, frozen
from supernets.tas.relaxed import Relaxed
from supernets.training.checkpoint import Checkpoint
from supernets.training.data import Batches
from supernets.training.recipe import Recipe
from supernets.training.updates import Part, Updates

PAPER_STEPS = 600 * 97  # epochs of 25,000 images in batches of 256
PAPER_RATE = 1e-3
LARGEST_RATE = 0.1  # above it a single batch decides


@dataclass(frozen=True, kw_only=True, slots=True)
class TasConfig:
    """How to search, with the paper's values (arXiv 1905.09717, section 4.1) where it has them.

    Attributes:
        epochs: Passes over the images that weights are trained on.
        warmup_epochs: Of them, the first ones, in which the architecture is left alone.
        learning_rate: Of the weights: the peak of a cosine.
        weight_decay: Of the weights.
        arch_learning_rate: Of the architecture's logits, by Adam. None: the paper's for as many
            steps as it made, and more for fewer, so that logits come as far: at the paper's rate a
            few hundred steps decide nothing.
        arch_weight_decay: Of the logits.
        temperatures: Of the first and the last epoch, between which it falls linearly.
        tolerance: Half the band around the budget, within which cost is no loss.
        cost_weight: Of the loss of cost beside that of the task.
        seed: Of everything random.
        checkpoint_s: Seconds between checkpoints.
    """

    epochs: int = 600
    warmup_epochs: int = 0
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    arch_learning_rate: float | None = None
    arch_weight_decay: float = 1e-3
    temperatures: tuple[float, float] = (10.0, 0.1)
    tolerance: float = 0.05
    cost_weight: float = 2.0
    seed: int = 0
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(f"{self.warmup_epochs} of {self.epochs} epochs before the "
                             "architecture is learnt: at least one must be left")
        if min(self.temperatures) <= 0 or self.temperatures[0] < self.temperatures[1]:
            raise InputError(f"temperatures {self.temperatures} must be positive and fall")

    def arch_rate(self, steps: int) -> float:
        """Returns the learning rate of the architecture for a search of so many steps."""
        if self.arch_learning_rate is not None:
            return self.arch_learning_rate
        return min(LARGEST_RATE, PAPER_RATE * max(1.0, PAPER_STEPS / steps))


@dataclass(frozen=True, slots=True)
class SearchedEpoch:
    """Where a search stands after an epoch.

    Attributes:
        epoch: Counted from 1.
        epochs: Of the search.
        loss: Of the weights, its last batch.
        cost: Of the likeliest network.
        certainty: Mean probability of the likeliest choices.
    """

    epoch: int
    epochs: int
    loss: float
    cost: float
    certainty: float


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search found.

    Attributes:
        likeliest: The architecture of the likeliest choices; its cost may be on either side of
            the budget.
        arch: The likeliest one near the budget and not above it, where the space has one.
        relaxed: The network, with its weights.
        probabilities: Gene → of each choice.
    """

    likeliest: Arch
    arch: Arch
    relaxed: Relaxed
    probabilities: Mapping[str, list[float]]


@dataclass(kw_only=True)
class TasSearch:
    """One search.

    Attributes:
        relaxed: The network; trained in place, where it lies.
        task: Its loss.
        weights: Batches that weights are trained on.
        choices: Batches that the architecture is trained on, of other images.
        budget: To be met.
        config: How.
        checkpoint: File of the checkpoints; read first if it exists.
        on_epoch: Called after each epoch.
        on_step: Called after each step with its number, from 1, and how many there are.
    """

    relaxed: Relaxed
    task: Task
    weights: Batches
    choices: Batches
    budget: Budget
    config: TasConfig
    checkpoint: Path
    on_epoch: Callable[[SearchedEpoch], None] | None = None
    on_step: Callable[[int, int], None] | None = None

    def run(self) -> Searched:
        """Searches to the end, from the checkpoint if there is one.

        Raises:
            DataError: The checkpoint is damaged or of another search, or too few images.
            EvaluationError: A loss that is not finite, or not enough memory.
            OSError: A file cannot be written.
        """
        config, learnt = self.config, self._learnt()
        per_epoch = learnt.updates.steps_per_epoch
        total = per_epoch * config.epochs
        checkpoint = Checkpoint(path=self.checkpoint, identity=self._identity())
        checkpoint.read(learnt.load)
        cost_loss = CostLoss(self.budget, config.tolerance)
        self.relaxed.train()
        saved_at = time.monotonic()
        while learnt.step < total:
            loss = self._step(learnt, cost_loss)
            if self.on_step is not None:
                self.on_step(learnt.step, total)
            if learnt.step % per_epoch == 0:
                self._report(learnt.controller, learnt.step // per_epoch, loss)
            if time.monotonic() - saved_at > config.checkpoint_s or learnt.step == total:
                checkpoint.write(learnt.state())
                saved_at = time.monotonic()
        self.relaxed.eval()
        learnt.settle(cost_loss)
        return self._result(learnt.controller)

    def _learnt(self) -> Learnt:
        config = self.config
        recipe = Recipe(epochs=config.epochs, learning_rate=config.learning_rate,
                        weight_decay=config.weight_decay, warmup_epochs=0.0,
                        label_smoothing=0.0, seed=config.seed)
        updates = Updates(self.relaxed, recipe, self.weights)
        self.choices.checked_steps_per_epoch()
        controller = Controller(self.relaxed.elastic.space, depths=self.relaxed.depth_genes,
                                generator=self._generator("logits", 0))
        steps = updates.steps_per_epoch * (config.epochs - config.warmup_epochs)
        optimizer = torch.optim.Adam(
            controller.parameters(), lr=config.arch_rate(steps), betas=(0.5, 0.999),
            weight_decay=config.arch_weight_decay)
        return Learnt(self.relaxed, updates, controller, optimizer)

    def _step(self, learnt: Learnt, cost_loss: CostLoss) -> float:
        # One update of the weights, and one of the architecture.
        epoch = learnt.step // learnt.updates.steps_per_epoch
        temperature = self._temperature(epoch)
        loss = learnt.updates.step(learnt.step, self._parts(learnt.controller, temperature))
        if epoch >= self.config.warmup_epochs:
            self._arch_step(learnt.controller, learnt.optimizer, cost_loss, temperature,
                            learnt.step)
        learnt.step += 1
        return loss

    def _parts(self, controller: Controller, temperature: float) -> Any:
        def parts(inputs: Any, targets: Any, step: int) -> Iterator[Part]:
            with torch.no_grad():
                draws = controller.draw(temperature, self._generator("weights", step))
            yield Part(self.task.loss(self.relaxed(inputs, draws), targets))

        return parts

    def _arch_step(self, controller: Controller, optimizer: torch.optim.Optimizer,
                   cost_loss: CostLoss, temperature: float, step: int) -> None:
        inputs, targets = self.choices.batch(step)
        optimizer.zero_grad(set_to_none=True)
        with frozen(self.relaxed):
            draws = controller.draw(temperature, self._generator("architecture", step))
            loss = self.task.loss(self.relaxed(inputs, draws), targets)
            if not bool(torch.isfinite(loss)):
                raise EvaluationError(f"the architecture's loss is {float(loss.detach())} at step "
                                      f"{step}; lower the learning rate")
            total = loss + self.config.cost_weight * cost_loss(controller)
            total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _report(self, controller: Controller, epoch: int, loss: float) -> None:
        if self.on_epoch is None:
            return
        sure = [float(values.detach().max()) for values in controller.probabilities().values()]
        self.on_epoch(SearchedEpoch(
            epoch, self.config.epochs, loss, self.budget.cost.of(controller.most_likely()),
            sum(sure) / len(sure)))

    def _result(self, controller: Controller) -> Searched:
        with torch.no_grad():
            found = {name: values.double() for name, values in controller.probabilities().items()}
        arch = best_within(self.budget, {
            name: values.clamp_min(1e-12).log().tolist() for name, values in found.items()})
        return Searched(controller.most_likely(), arch, self.relaxed,
                        {name: values.tolist() for name, values in found.items()})

    def _temperature(self, epoch: int) -> float:
        first, last = self.config.temperatures
        done = epoch / max(1, self.config.epochs - 1)
        return first + (last - first) * done

    def _generator(self, purpose: str, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(
            derive_seed(self.config.seed, f"tas {purpose}", index=step))

    def _identity(self) -> dict[str, Any]:
        config = asdict(self.config)
        del config["checkpoint_s"]
        config["temperatures"] = list(self.config.temperatures)
        choices = {f"choices_{name}": value for name, value in self.choices.identity().items()}
        return {**config, **self.weights.identity(), **choices,
                "space": self.relaxed.elastic.space.id, "metric": self.budget.cost.metric,
                "limit": self.budget.limit}
