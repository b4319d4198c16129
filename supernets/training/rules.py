"""The sampling rules by name."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError, UnknownNameError
from nas.core.protocols import Supernet
from nas.core.registry import unknown_name
from nas.core.types import FloatArray, IntArray
from supernets.training.sampling import (
    Attentive,
    ParetoWeighted,
    SamplingRule,
    Sandwich,
    SinglePath,
    Uniform,
)
from supernets.training.shrinking import ProgressiveShrinking


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleContext:
    """What rules may need beside a step.

    Attributes:
        supernet: That is trained.
        total_steps: Of the training.
        score: Codes (N, genes) → (N,), higher is better; None for the MACs.
        front: Step → codes of the current front; None if no search runs.
    """

    supernet: Supernet
    total_steps: int
    score: Callable[[IntArray], FloatArray] | None = None
    front: Callable[[int], IntArray] | None = None


def macs_of(supernet: Supernet) -> Callable[[IntArray], FloatArray]:
    """Returns what gives the multiply-adds of codes (N, genes), (N,)."""
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    return lambda codes: costs.predict("macs", codes).value


def make_rule(name: str, context: RuleContext) -> SamplingRule:
    """Returns a rule of `RULES` with its default settings.

    Raises:
        UnknownNameError: There is no such rule.
        InputError: The context lacks what it needs.
    """
    if name not in RULES:
        raise UnknownNameError(unknown_name("sampling rule", name, list(RULES)))
    return RULES[name](context)


def _attentive(context: RuleContext, *, best: bool) -> SamplingRule:
    return Attentive(score=context.score or macs_of(context.supernet), best=best)


def _pareto(context: RuleContext) -> SamplingRule:
    if context.front is None:
        raise InputError("sampling rule 'pareto' draws around the front of a search, and none "
                         "runs; use another rule")
    return ParetoWeighted(front=context.front)


RULES: dict[str, Callable[[RuleContext], SamplingRule]] = {
    "sandwich": lambda _: Sandwich(),
    "uniform": lambda _: Uniform(),
    "single-path": lambda _: SinglePath(),
    "best-up": lambda context: _attentive(context, best=True),
    "worst-up": lambda context: _attentive(context, best=False),
    "progressive": lambda context: ProgressiveShrinking(total_steps=context.total_steps),
    "pareto": _pareto,
}
