"""Layer tickets: whole residual blocks go, those of the least saliency first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.rng import derive_seed
from nas.core.types import IntArray
from supernets.tas.methods.uniform import evenly_narrowed, least_cost
from supernets.tas.subject import Subject
from supernets.timm.elastic import depth_gene
from supernets.timm.families import ModelFacts, StageFacts

# A model → a number for each of some parameters, by name and in its shape. More is more important.
Scores = Callable[[nn.Module], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LayerTickets:
    """Drops the least important blocks of a network (Jordao et al., arXiv 2301.10835).

    Each block is scored once, in the whole network, by the sum of what its parameters score
    (algorithm 2 there, which takes SNIP or GraSP); those that lead from one stage to the next stay.
    Blocks go in order of their scores, over all stages, until the budget is met.

    A space says in which order a stage's blocks go, so the space must be that of `order`:
    ``TimmConfig.drop_order``, from which it also has its id. There a depth keeps the blocks that
    the scores say, whatever the widths: a block reads what the last one in front of it gives. It
    should have every depth, and none that is out of reach (``depth_step=1``, a small ``depth``).

    Deviation: a block is a large part of a network, so that blocks alone end well below a budget.
    For comparison at equal cost the last one that went comes back, and all widths are narrowed
    evenly instead, where the space has widths that do. So none goes where the first one would be
    more than is asked for. Without such widths the network is as in the paper.

    Attributes:
        scores: Such as a `nas.core.protocols.SaliencyProxy` on a batch. SNIP and SynFlow score
            what is lost by removal. GraSP's −W ⊙ Hg is what the gradient flow *gains*, and its
            authors remove the highest: turn its sign.
    """

    scores: Scores

    def order(self, model: nn.Module, facts: ModelFacts) -> dict[str, tuple[int, ...]]:
        """Returns for each stage its droppable positions, the least important one in front.

        Raises:
            InputError: No block can go.
            EvaluationError: A score that is not finite, or no parameter of a block has one.
        """
        return _order(facts, block_scores(model, facts, self.scores))

    def __call__(self, subject: Subject) -> Arch:
        """Returns an architecture within the budget.

        Raises:
            InputError: The space drops blocks in another order than `order`, no block can go, or
                the budget is not reached with what the space has.
            EvaluationError: As `order`.
        """
        supernet, budget = subject.supernet, subject.budget
        facts, space = supernet.elastic.facts, budget.cost.space
        blocks = block_scores(supernet.model, facts, self.scores)
        _check_order(subject, _order(facts, blocks))
        code = before = space.encode([space.extreme(largest=True)])[0]
        while (cost := float(budget.cost.predict(code[None])[0])) > budget.limit:
            before, code = code, _without_least(subject, code, blocks)
        if not budget.is_met(cost) and least_cost(subject, before) <= budget.limit:
            code = evenly_narrowed(subject, before)
        return space.decode(code[None])[0]


def random_scores(seed: int) -> Scores:
    """Returns scores that say nothing, for comparison: normal, the same for the same seed."""
    def scores(model: nn.Module) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(derive_seed(seed, "random block scores"))
        return {name: torch.randn(parameter.shape, generator=generator) / parameter.numel() ** 0.5
                for name, parameter in model.named_parameters()}

    return scores


def block_scores(model: nn.Module, facts: ModelFacts, scores: Scores) -> dict[str, float]:
    """Returns the path of each droppable block → the sum of its parameters' scores.

    Raises:
        InputError: There is no such block.
        EvaluationError: A score that is not finite, or no parameter of a block has one.
    """
    paths = [stage.blocks[place].path for stage in facts.stages for place in stage.droppable]
    if not paths:
        raise InputError("no block of this model can be left out; prune its widths by another "
                         "method")
    found = scores(model)
    sums = {}
    for path in paths:
        own = [float(values.double().sum()) for name, values in found.items()
               if name.startswith(f"{path}.")]
        if not own:
            raise EvaluationError(f"no parameter of block {path} has a score")
        sums[path] = sum(own)
        if not torch.isfinite(torch.tensor(sums[path])):
            raise EvaluationError(f"the score of block {path} is {sums[path]}")
    return sums


def _order(facts: ModelFacts, blocks: Mapping[str, float]) -> dict[str, tuple[int, ...]]:
    return {stage.name: _least_first(stage, blocks) for stage in facts.stages if stage.droppable}


def _least_first(stage: StageFacts, blocks: Mapping[str, float]) -> tuple[int, ...]:
    return tuple(sorted(stage.droppable,
                        key=lambda place: (blocks[stage.blocks[place].path], -place)))


def _check_order(subject: Subject, order: Mapping[str, tuple[int, ...]]) -> None:
    elastic = subject.supernet.elastic
    if not any(depth_gene(stage) in elastic.space.positions for stage in elastic.facts.stages):
        raise InputError("all blocks stay in this space, and layer tickets drop blocks; use "
                         "another method, or let depths be pruned")
    for stage in elastic.facts.stages:
        if stage.droppable and tuple(elastic.order(stage)) != order[stage.name]:
            raise InputError(f"the space drops the blocks of {stage.name} in the order "
                             f"{tuple(elastic.order(stage))}, and by their scores it is "
                             f"{order[stage.name]}; make it with that drop_order")


def _without_least(subject: Subject, code: IntArray, blocks: Mapping[str, float]) -> IntArray:
    # One step of depth less, in the stage whose blocks that then go score least on average.
    space, elastic = subject.budget.cost.space, subject.supernet.elastic
    candidates = []
    for stage in elastic.facts.stages:
        place = space.positions.get(depth_gene(stage))
        if place is None or code[place] == 0:
            continue
        depths = [int(depth) for depth in space.genes[place].choices]
        now, then = depths[code[place]], depths[code[place] - 1]
        gone = elastic.order(stage)[len(stage.blocks) - now:len(stage.blocks) - then]
        scored = [blocks[stage.blocks[position].path] for position in gone]
        candidates.append((sum(scored) / len(scored), place))
    if not candidates:
        subject.budget.require_reached(least_cost(subject, code), "with all blocks gone that may")
        return evenly_narrowed(subject, code)
    shallower = code.copy()
    shallower[min(candidates)[1]] -= 1
    return np.asarray(space.canonical_codes(shallower[None])[0])
