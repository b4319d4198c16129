"""Optuna's own samplers as searchers; any other is ``optuna:module:Class`` (`make_searcher`).

All take ``(problem, *, budget, …)`` as every searcher does. What is not an option here keeps
Optuna's default, and so do options that nobody gives.
"""

from functools import partial

from optuna.samplers import (
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    TPESampler,
)

from nas.core.errors import InputError
from nas.core.problem import Problem
from nas.search.evolution import default_population
from nas.search.optuna_searcher import OptunaSearcher, sampler_seed

# A Gaussian process takes tenths of a second for a candidate, and answers much the same again.
_GP_ATTEMPTS = 4


def tpe(problem: Problem, *, budget: int | None = None, n_startup_trials: int = 10,
        n_ei_candidates: int = 24, multivariate: bool | None = None, group: bool = False,
        constant_liar: bool = True) -> OptunaSearcher:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; several objectives, Ozaki 2022).

    Args:
        problem: What to search.
        budget: Not needed.
        n_startup_trials: Random ones at first.
        n_ei_candidates: Candidates of which the best is taken.
        multivariate: Whether genes are drawn together; None: with one objective.
        group: Whether genes that are live together are, of a conditional space; needs
            `multivariate`.
        constant_liar: Whether it keeps away from trials that are not told yet.
    """
    del budget
    _check("n_startup_trials", n_startup_trials, 1)
    _check("n_ei_candidates", n_ei_candidates, 1)
    if group and not multivariate:
        raise InputError("optuna-tpe: group needs multivariate=true")
    return OptunaSearcher(problem, partial(
        TPESampler, n_startup_trials=n_startup_trials, n_ei_candidates=n_ei_candidates,
        multivariate=multivariate, group=group, constant_liar=constant_liar,
        seed=sampler_seed(problem)), name="optuna-tpe")


def nsga2(problem: Problem, *, budget: int | None = None, population: int | None = None,
          crossover: float = 0.9, mutation: float | None = None) -> OptunaSearcher:
    """NSGA-II (Deb et al. 2002).

    Args:
        problem: What to search.
        budget: Decides the population's default.
        population: Of each generation, ≥ 2; the default is that of our own evolution, for
            Optuna's of 50 leaves none of 64 validations to selection.
        crossover: Probability of crossover.
        mutation: Probability with which each gene is drawn anew; None: 1 / genes.
    """
    return OptunaSearcher(problem, partial(
        NSGAIISampler, population_size=_population("optuna-nsga2", budget, population),
        crossover_prob=_rate("optuna-nsga2", "crossover", crossover),
        mutation_prob=_optional_rate("optuna-nsga2", "mutation", mutation),
        seed=sampler_seed(problem)), name="optuna-nsga2")


def nsga3(problem: Problem, *, budget: int | None = None, population: int | None = None,
          crossover: float = 0.9, mutation: float | None = None,
          dividing_parameter: int = 3) -> OptunaSearcher:
    """NSGA-III (Deb and Jain 2014); see `nsga2`.

    Args:
        problem: What to search.
        budget: Decides the population's default.
        population: Of each generation, ≥ 2.
        crossover: Probability of crossover.
        mutation: Probability with which each gene is drawn anew; None: 1 / genes.
        dividing_parameter: Divisions of each axis between reference points, ≥ 1.
    """
    _check("dividing_parameter", dividing_parameter, 1)
    return OptunaSearcher(problem, partial(
        NSGAIIISampler, population_size=_population("optuna-nsga3", budget, population),
        crossover_prob=_rate("optuna-nsga3", "crossover", crossover),
        mutation_prob=_optional_rate("optuna-nsga3", "mutation", mutation),
        dividing_parameter=dividing_parameter, seed=sampler_seed(problem)), name="optuna-nsga3")


def cmaes(problem: Problem, *, budget: int | None = None, popsize: int | None = None,
          with_margin: bool = True) -> OptunaSearcher:
    """CMA-ES (Hansen 2016) for one objective; genes of texts are drawn at random.

    Args:
        problem: With one objective.
        budget: Not needed.
        popsize: Of each generation, ≥ 2; None: 4 + ⌊3 ln genes⌋.
        with_margin: Whether no choice of a gene may die out (Hamano et al. 2022), which integer
            genes need.
    """
    del budget
    if popsize is not None:
        _check("popsize", popsize, 2)
    return OptunaSearcher(problem, partial(
        CmaEsSampler, popsize=popsize, with_margin=with_margin, seed=sampler_seed(problem)),
        name="optuna-cmaes")


def gp(problem: Problem, *, budget: int | None = None, n_startup_trials: int = 10,
       deterministic_objective: bool = False) -> OptunaSearcher:
    """Gaussian processes with expected improvement (of the hypervolume).

    Args:
        problem: What to search.
        budget: Not needed.
        n_startup_trials: Random ones at first.
        deterministic_objective: Whether two validations of a network give the same.
    """
    del budget
    _check("n_startup_trials", n_startup_trials, 1)
    return OptunaSearcher(problem, partial(
        GPSampler, n_startup_trials=n_startup_trials,
        deterministic_objective=deterministic_objective, seed=sampler_seed(problem)),
        name="optuna-gp", attempts=_GP_ATTEMPTS)


def qmc(problem: Problem, *, budget: int | None = None, qmc_type: str = "sobol",
        scramble: bool = True) -> OptunaSearcher:
    """A quasi-random sequence, which fills the space more evenly than random draws.

    Args:
        problem: What to search.
        budget: Not needed.
        qmc_type: ``"sobol"`` or ``"halton"``.
        scramble: Whether the seed changes the sequence; Optuna's default is that it does not.
    """
    del budget
    if qmc_type not in ("sobol", "halton"):
        raise InputError(f"optuna-qmc: qmc_type is 'sobol' or 'halton', not {qmc_type!r}")
    return OptunaSearcher(problem, partial(
        QMCSampler, qmc_type=qmc_type, scramble=scramble, seed=sampler_seed(problem)),
        name="optuna-qmc")


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, not {value}")


def _population(name: str, budget: int | None, population: int | None) -> int:
    if population is None:
        return default_population(budget)
    _check(f"{name}: population", population, 2)
    return population


def _optional_rate(searcher: str, name: str, rate: float | None) -> float | None:
    return None if rate is None else _rate(searcher, name, rate)


def _rate(searcher: str, name: str, rate: float) -> float:
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"{searcher}: {name} {rate} is outside 0 … 1")
    return rate
