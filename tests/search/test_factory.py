"""A searcher by name and options: what is made, and what is said where it cannot be."""

import inspect
from collections.abc import Callable, Mapping, Sequence

import optuna
import pytest

from nas.core.errors import InputError, UnknownNameError
from nas.core.problem import Problem
from nas.core.trial import Outcome, Trial
from nas.search.factory import make_searcher, taken_options
from nas.search.random_search import RandomSearch
from nas.search.registry import SEARCHERS

MakeProblem = Callable[..., Problem]


class Third:
    """A third party's searcher."""

    counts: Mapping[str, int] = {}

    def __init__(self, problem: Problem, *, budget: int | None = None, depth: int = 1,
                 share: float = 0.5, mode: str | None = None, fast: bool = False,
                 hook: Callable[[], None] | None = None) -> None:
        self.given = problem, budget, depth, share, mode, fast, hook

    def ask(self, n: int) -> Sequence[Trial]:
        return [][:n]

    def tell(self, outcomes: Sequence[Outcome]) -> None: ...


def broken(problem: Problem, *, budget: int | None = None) -> Third:
    raise RuntimeError(f"no licence for {problem.space.id} and {budget}")


def no_searcher(problem: Problem, *, budget: int | None = None) -> str:
    return f"searcher of {problem.space.id} and {budget}"


class OneOnly(optuna.samplers.RandomSampler):
    """A sampler that finds out late that it has several objectives."""

    def sample_independent(self, study: optuna.Study, *rest: object) -> object:
        self._raise_error_if_multi_objective(study)
        return super().sample_independent(study, *rest)


def name_of(thing: object) -> str:
    return f"{__name__}:{thing.__name__}"


def test_registered_names_and_written_out_ones(make_problem: MakeProblem) -> None:
    problem = make_problem()
    assert isinstance(make_searcher("random", problem), RandomSearch)
    made = make_searcher(name_of(Third), problem, budget=7, options={
        "depth": 3, "share": 1, "mode": "x", "fast": True})
    assert made.given == (problem, 7, 3, 1, "x", True, None)


def test_options_reach_the_searcher_and_the_sampler(make_problem: MakeProblem) -> None:
    with pytest.raises(InputError, match="population of at least 2, not 1"):
        make_searcher("evolution", make_problem(), options={"population": 1})
    with pytest.raises(InputError, match="population_size` must be greater than or equal to 2"):
        make_searcher("optuna:optuna.samplers:NSGAIISampler", make_problem(),
                      options={"population_size": 1})


@pytest.mark.parametrize(("name", "options", "message"), [
    ("random", {"rate": 1}, "'random' has no option 'rate'; it takes none"),
    ("evolution", {"rate": 1}, r"'evolution' has no option 'rate'; it takes population \(an "
     r"integer\), mutation \(a number\), inversion \(a number\)"),
    ("evolution", {"budget": 1}, "no option 'budget'"),
    ("evolution", {"population": 2.5}, "option 'population' is an integer, not 2.5"),
    ("evolution", {"population": True}, "option 'population' is an integer, not True"),
    ("evolution", {"mutation": "high"}, "option 'mutation' is a number, not 'high'"),
    ("optuna-tpe", {"group": 1}, "option 'group' is true or false, not 1"),
    ("optuna-qmc", {"qmc_type": "lattice"}, "'sobol' or 'halton', not 'lattice'"),
    ("optuna-nsga2", {"crossover": 2.0}, "crossover 2.0 is outside 0 … 1"),
    ("optuna-gp", {"n_startup_trials": 0}, "n_startup_trials must be at least 1"),
    ("optuna:optuna.samplers:TPESampler", {"gamma": 2},
     r"has no option 'gamma'; it takes .*n_ei_candidates \(an integer\)"),
    ("optuna:optuna.samplers:RandomSampler", {"seed": "x"}, "'seed' is an integer, not 'x'"),
])
def test_options_that_it_does_not_take(make_problem: MakeProblem, name: str,
                                       options: Mapping[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_searcher(name, make_problem(), budget=8, options=options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "error", "message"), [
    ("evolutoin", UnknownNameError, "did you mean evolution"),
    ("optuna-tpf", UnknownNameError, "did you mean optuna-tpe"),
    ("nowhere:Searcher", InputError, "no module 'nowhere'"),
    ("optuna:optuna.samplers:TPE", InputError, "has no 'TPE'"),
    ("optuna:optuna.samplers", InputError, "has no ''|not of the form"),
    ("optuna:pathlib:Path", InputError, "is no Optuna sampler: it gave a PosixPath"),
    ("optuna:optuna.samplers:GridSampler", InputError, "Sampler' cannot be made .*search_space"),
    (name_of(broken), InputError, r"cannot be made \(RuntimeError: no licence for toy/1 and 8\)"),
    (name_of(no_searcher), InputError, "is no searcher: it gave a str, which has no 'ask'"),
])
def test_what_cannot_be_made(make_problem: MakeProblem, name: str, error: type[Exception],
                             message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        make_searcher(name, make_problem(), budget=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["optuna-cmaes", "optuna:optuna.samplers:CmaEsSampler",
                                  f"optuna:{name_of(OneOnly)}"])
def test_several_objectives_for_a_sampler_of_one(make_problem: MakeProblem, name: str) -> None:
    with pytest.raises(InputError, match=r"takes one objective, not 2 \(error, speed\); these take "
                                         "several: evolution, ") as caught:
        make_searcher(name, make_problem())
    named = str(caught.value).rpartition(": ")[2].split(", ")
    assert named == [e.name for e in SEARCHERS.builtin if e.info["multi_objective"]]
    assert "optuna-cmaes" not in named


def test_every_registered_option_is_one_that_can_be_given() -> None:
    for entry in SEARCHERS.builtin:
        factory = entry.resolve()
        keywords = {name for name, parameter in inspect.signature(
            factory).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
        assert keywords == set(taken_options(factory)), entry.name


def test_every_entry_says_what_it_can_do() -> None:
    for entry in SEARCHERS.builtin:
        assert entry.info["source"]
        assert entry.info["multi_objective"] in (True, False)
        assert entry.info["constraints"] in ("screen", "learns")
