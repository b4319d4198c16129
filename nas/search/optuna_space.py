"""Genes as Optuna's distributions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseGASampler, BaseSampler, CmaEsSampler, GPSampler, QMCSampler
from optuna.trial import FrozenTrial, create_trial

from nas.core.space import Gene, SearchSpace
from nas.core.types import CODE_DTYPE, IntArray

FIXED = (GPSampler, CmaEsSampler, QMCSampler, BaseGASampler)  # the last: NSGA-II and III


class SuggestedSpace:
    """A space that a sampler walks through gene by gene (define by run).

    A gene of numbers is an `IntDistribution` over the positions of its choices, which ascend: so
    TPE, GP, CMA-ES and QMC make use of their order. A gene of texts is a
    `CategoricalDistribution`, which CMA-ES leaves to random draws. Names are the genes'.

    A gene is only suggested where its parent makes it live. Samplers that know but the parameters
    that all trials share (`FIXED`) would leave every other gene to chance, for good; to them all
    genes are suggested, and those that do not matter are reset in the code.

    Args:
        space: Parents precede their children.
        sampler: That is to walk through it.
    """

    def __init__(self, space: SearchSpace, sampler: BaseSampler) -> None:
        self._all = isinstance(sampler, FIXED)
        self._genes = tuple(space.genes)
        self._distributions = tuple(map(_distribution, self._genes))
        columns = {gene.name: column for column, gene in enumerate(self._genes)}
        # For each gene: its parent's column and the positions of the parent that make it live.
        self._parents = tuple(
            None if gene.condition is None else _allowed(
                self._genes, columns[gene.condition.parent], gene.condition.values)
            for gene in self._genes)

    def suggest(self, trial: optuna.Trial) -> IntArray:
        """Returns the canonical code (1, genes) that a trial suggests."""
        codes = [0] * len(self._genes)
        for column in self._suggested(codes):
            name, distribution = self._genes[column].name, self._distributions[column]
            if isinstance(distribution, IntDistribution):
                codes[column] = trial.suggest_int(name, 0, distribution.high)
            else:
                choice = trial.suggest_categorical(name, self._genes[column].choices)
                codes[column] = self._genes[column].choices.index(choice)
        live = set(self._live(codes))
        return np.array([[code if column in live else 0 for column, code in enumerate(codes)]],
                        dtype=CODE_DTYPE)

    def params(self, codes: Sequence[int]) -> Mapping[str, Any]:
        """Returns the parameters that suggest a canonical code (genes,)."""
        return {self._genes[column].name: codes[column] if isinstance(
            self._distributions[column], IntDistribution) else
            self._genes[column].choices[codes[column]] for column in self._suggested(codes)}

    def finished(self, codes: Sequence[int], values: Sequence[float]) -> FrozenTrial:
        """Returns a trial that was evaluated, of a canonical code (genes,)."""
        distributions = {self._genes[column].name: self._distributions[column]
                         for column in self._suggested(codes)}
        return create_trial(values=list(values), params=dict(self.params(codes)),
                            distributions=distributions)

    def _suggested(self, codes: Sequence[int]) -> Iterable[int]:
        return range(len(self._genes)) if self._all else self._live(codes)

    def _live(self, codes: Sequence[int]) -> Iterator[int]:
        # Lazily, so that a caller that fills in codes on the way decides what comes next.
        live: set[int] = set()
        for column, parent in enumerate(self._parents):
            if parent is None or (parent[0] in live and codes[parent[0]] in parent[1]):
                live.add(column)
                yield column


def _distribution(gene: Gene) -> BaseDistribution:
    if isinstance(gene.choices[0], str):
        return CategoricalDistribution(gene.choices)
    return IntDistribution(0, len(gene.choices) - 1)


def _allowed(genes: Sequence[Gene], column: int,
             values: Sequence[Any]) -> tuple[int, frozenset[int]]:
    return column, frozenset(genes[column].choices.index(value) for value in values)
