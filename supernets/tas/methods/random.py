"""A random architecture of the budget's cost."""

from nas.core.arch import Arch
from nas.core.rng import derive_rng
from supernets.tas.budget import best_within
from supernets.tas.subject import Subject

_DRAWS = 16_384


def random(subject: Subject) -> Arch:
    """Returns an architecture drawn uniformly from those near the budget.

    Where a great many draws have none, one is moved there: see `best_within`.
    """
    budget, space = subject.budget, subject.budget.cost.space
    rng = derive_rng(subject.seed, "random pruning")
    codes = space.sample_codes(_DRAWS, rng)
    for code, cost in zip(codes, budget.cost.predict(codes), strict=True):
        if budget.is_met(float(cost)):
            return space.decode(code[None])[0]
    return best_within(budget, {gene.name: rng.random(len(gene.choices)).tolist()
                                for gene in space.genes})
