"""What a step of the gradient search costs beside a plain training step."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _tas_spaces import CLASSES, cost_of, make_space
from torch import Tensor, nn
from torch.nn import functional as F

from nas.core.protocols import Batch
from supernets.tas.balance import CostLoss
from supernets.tas.budget import Budget
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import TasConfig, TasSearch
from supernets.training.recipe import Recipe
from supernets.training.updates import Part, Updates

# Model, side of its images, images of a batch.
NETS = (("cifar_resnet20_half", 14, 128), ("cifar_resnet20", 32, 64), ("resnet18", 64, 32))
SHARE = 0.6
WARM_UP, ROUNDS = 3, 30
TEMPERATURE = 2.0


@dataclass
class Batches:
    """One batch that is there already, so that only training is timed."""

    inputs: Tensor
    targets: Tensor
    steps_per_epoch: int = 100
    facts: dict[str, int] = field(default_factory=dict)

    def checked_steps_per_epoch(self) -> int:
        """Returns the batches of an epoch."""
        return self.steps_per_epoch

    def identity(self) -> dict[str, int | str]:
        """Returns nothing."""
        return dict(self.facts)

    def batch(self, _step: int) -> Batch:
        """Returns the batch."""
        return self.inputs, self.targets


def step_row(model: str, side: int, batch: int, work: Path) -> dict[str, Any]:
    """Returns CPU seconds of a plain step and of both halves of a search's, and their ratios."""
    net = make_space(model, side)
    inputs = net.task.example_inputs(batch, np.random.default_rng(0))
    data = Batches(inputs.to(memory_format=torch.channels_last), torch.arange(batch) % CLASSES)
    plain = _plain(copy.deepcopy(net.model), data)
    weights, architecture = _search(net, data, work)
    taken: dict[str, list[float]] = {"plain": [], "weights": [], "architecture": []}
    for step in range(WARM_UP + ROUNDS):
        for name, make in (("plain", plain), ("weights", weights),
                           ("architecture", architecture)):
            start = time.process_time()
            make(step)
            taken[name].append(time.process_time() - start)
    kept = {name: np.array(values[WARM_UP:]) for name, values in taken.items()}
    whole = (kept["weights"] + kept["architecture"]) / kept["plain"]
    return {"model": model, "pixels": side, "batch": batch, "rounds": ROUNDS,
            "plain_cpu_ms": round(1e3 * float(np.median(kept["plain"])), 2),
            "weights": _ratio(kept["weights"] / kept["plain"]),
            "architecture": _ratio(kept["architecture"] / kept["plain"]),
            "step": _ratio(whole), "a_batch": _ratio(whole / 2)}


def _ratio(ratios: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return {"median": round(float(middle), 3), "low": round(float(low), 3),
            "high": round(float(high), 3)}


def _plain(module: nn.Module, data: Batches) -> Callable[[int], Any]:
    module = module.to(memory_format=torch.channels_last).train()
    recipe = Recipe(epochs=1, learning_rate=0.01, weight_decay=5e-4, warmup_epochs=0.0,
                    label_smoothing=0.0, seed=0)
    updates = Updates(module, recipe, data)

    def parts(inputs: Any, targets: Any, _step: int) -> Any:
        yield Part(F.cross_entropy(module(inputs), targets))

    return lambda step: updates.step(step, parts)


def _search(net: Any, data: Batches, work: Path) -> tuple[Callable[[int], Any], ...]:
    # Both halves of a step of the search as the search makes them, timed apart.
    cost = cost_of(net, "macs", work)
    budget = Budget(cost=cost, limit=SHARE * cost.of(net.space.extreme(largest=True)))
    search = TasSearch(
        relaxed=Relaxed(net.model, net.elastic).to(memory_format=torch.channels_last).train(),
        task=net.task, weights=data, choices=data, budget=budget,
        config=TasConfig(epochs=1, learning_rate=0.01), checkpoint=work / "never-written")
    learnt = search._learnt()
    loss = CostLoss(budget, search.config.tolerance)
    return (lambda step: learnt.updates.step(step, search._parts(learnt.controller, TEMPERATURE)),
            lambda step: search._arch_step(learnt.controller, learnt.optimizer, loss,
                                           TEMPERATURE, step))
