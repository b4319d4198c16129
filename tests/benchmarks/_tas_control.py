"""Where a controller ends that is led by the loss of cost alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from nas.core.errors import InputError
from supernets.tas.balance import CostLoss
from supernets.tas.budget import Budget, NetworkCost, best_within
from supernets.tas.controller import Controller
from supernets.tas.search import TasConfig
from supernets.timm.elastic import depth_gene
from supernets.timm.supernet import TimmSupernet

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the whole network's cost
SEEDS = tuple(range(10))
STEPS = 500
LEANINGS = (-0.2, 0.0, 0.2)  # of a seed's first logits, per choice: to narrow, to none, to wide
CONFIG = TasConfig()


def controller_from(supernet: TimmSupernet, seed: int) -> Controller:
    """Returns a start: of every three, one leans to narrow networks and one to wide ones."""
    depths = [depth_gene(stage) for stage in supernet.elastic.facts.stages]
    controller = Controller(supernet.space, depths=depths,
                            generator=torch.Generator().manual_seed(seed))
    leaning = LEANINGS[seed % len(LEANINGS)]
    with torch.no_grad():
        for logits in controller.parameters():
            logits += leaning * torch.arange(len(logits))
    return controller


def run(supernet: TimmSupernet, budget: Budget, seed: int) -> dict[str, float]:
    """Returns costs as shares of the budget: of the start, of the end, of what is returned."""
    controller, cost = controller_from(supernet, seed), budget.cost
    optimizer = torch.optim.Adam(controller.parameters(), lr=CONFIG.arch_rate(STEPS),
                                 betas=(0.5, 0.999), weight_decay=CONFIG.arch_weight_decay)
    loss, start = CostLoss(budget, CONFIG.tolerance), cost.of(controller.most_likely())
    arrived = None
    for step in range(STEPS):
        optimizer.zero_grad()
        value = CONFIG.cost_weight * loss(controller)
        if value.requires_grad:
            value.backward()
            arrived = None
        elif arrived is None:
            arrived = step
        optimizer.step()
    found = best_within(budget, {name: values.detach().double().clamp_min(1e-12).log().tolist()
                                 for name, values in controller.probabilities().items()})
    return {"seed": seed, "start": start / budget.limit,
            "end": cost.of(controller.most_likely()) / budget.limit,
            "returned": cost.of(found) / budget.limit,
            "in_the_band_from_step": -1 if arrived is None else arrived}


def target_row(supernet: TimmSupernet, cost: NetworkCost, share: float,
               seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Returns what came of one target; a target that the space cannot reach is said to be one."""
    whole, least = (cost.of(supernet.space.extreme(largest=end)) for end in (True, False))
    try:
        budget = Budget(cost=cost, limit=share * whole)
    except InputError:
        return {"target": share, "unreachable": True, "least": round(least / whole, 4)}
    runs = [run(supernet, budget, seed) for seed in seeds]
    ends = np.array([found["end"] for found in runs])
    returned = np.array([found["returned"] for found in runs])
    return {"target": share, "runs": len(runs),
            "started_above": sum(found["start"] > 1 for found in runs),
            "within_5_percent": int((np.abs(ends - 1) <= CONFIG.tolerance).sum()),
            "worst": round(float(ends[np.argmax(np.abs(ends - 1))]), 4),
            "returned": [round(float(returned.min()), 4), round(float(returned.max()), 4)],
            "latest_arrival": max(found["in_the_band_from_step"] for found in runs),
            "ends": [round(float(end), 4) for end in ends]}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns one line of several targets."""
    reached = [row for row in rows if "runs" in row]
    worst = max((row["worst"] for row in reached), key=lambda value: abs(value - 1), default=None)
    return {"runs": sum(row["runs"] for row in reached),
            "within_5_percent": sum(row["within_5_percent"] for row in reached), "worst": worst,
            "returned": [min(row["returned"][0] for row in reached),
                         max(row["returned"][1] for row in reached)] if reached else None,
            "unreachable": [row["target"] for row in rows if "unreachable" in row]}
