"""Optuna's samplers as searchers: what they are told, and what the ledger is to Optuna's plots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import optuna
import optuna.visualization
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from nas.core.arch import Arch
from nas.core.errors import NasError
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Screening
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.trial import Outcome
from nas.core.types import FloatArray, IntArray
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.factory import make_searcher
from nas.search.ledger import Ledger, ledger_equal

MakeProblem = Callable[..., Problem]
SizeOf = Callable[[IntArray], FloatArray]
OPTUNA = ("optuna-tpe", "optuna-nsga2", "optuna-nsga3", "optuna-gp", "optuna-qmc")


class Told:
    """Mixed into a sampler: keeps how each of its trials ended."""

    ended: ClassVar[list[FrozenTrial]]

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState,
                    values: Sequence[float] | None) -> None:
        ended = FrozenTrial(
            number=trial.number, trial_id=trial.number, state=state, value=None, values=values,
            datetime_start=None, datetime_complete=None, params=trial.params,
            distributions=trial.distributions, user_attrs={}, system_attrs=trial.system_attrs,
            intermediate_values={})
        self.ended.append(ended)
        super().after_trial(study, trial, state, values)


class Free(Told, optuna.samplers.RandomSampler):
    """Does without constraints."""


class Constrained(Told, optuna.samplers.RandomSampler):
    """Says that it makes use of constraints."""

    def __init__(self, seed: int | None = None, constraints_func: None = None) -> None:
        super().__init__(seed)
        del constraints_func


class Genetic(Told, optuna.samplers.NSGAIISampler):
    """One that knows no conditional parameters."""


class Stuck(Told, optuna.samplers.RandomSampler):
    """Proposes the smallest architecture, always."""

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str,
                           param_distribution: optuna.distributions.IntDistribution) -> int:
        del study, trial, param_name
        return param_distribution.low


class Failing(optuna.samplers.RandomSampler):
    """Gives up at the fifth trial."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        del study
        if trial.number == 4:
            raise RuntimeError("no more\nideas")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Told.ended = []


def run(name: str, problem: Problem, evaluate: Evaluator, *, budget: int = 20, batch_size: int = 4,
        **options: Any) -> tuple[list[Outcome], Mapping[str, int]]:
    if ":" not in name and not name.startswith("optuna"):
        name = f"optuna:{__name__}:{name}"
    searcher = make_searcher(name, problem, budget=budget, options=options)
    outcomes: list[Outcome] = []
    while len(outcomes) < budget:
        batch = list(SerialExecutor().run(evaluate, searcher.ask(batch_size)))
        searcher.tell(batch)
        outcomes += batch
    return outcomes, searcher.counts


def states() -> dict[TrialState, int]:
    return {state: sum(trial.state is state for trial in Told.ended) for state in (
        TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)}


def test_every_candidate_ends_in_the_mirror_as_what_became_of_it(
        make_problem: MakeProblem, evaluate: Evaluator) -> None:
    outcomes, counts = run("Free", make_problem(threshold=11), evaluate)
    assert states() == {TrialState.COMPLETE: sum(outcome.ok for outcome in outcomes),
                        TrialState.FAIL: sum(not outcome.ok for outcome in outcomes),
                        TrialState.PRUNED: counts["duplicate"] + counts["size"]}
    assert counts["size"] > 0
    assert [t.values for t in Told.ended if t.state is TrialState.COMPLETE] == [
        [o.metrics["error"], o.metrics["speed"]] for o in outcomes if o.ok]
    assert not any(trial.constraints for trial in Told.ended)


def test_excess_is_told_as_constraints_to_samplers_that_use_them(
        make_problem: MakeProblem, evaluate: Evaluator) -> None:
    _, counts = run("Constrained", make_problem(threshold=11), evaluate)
    assert all(set(trial.constraints) == {"bound0"} for trial in Told.ended)
    broken = [trial for trial in Told.ended if trial.constraints["bound0"] > 0]
    assert len(broken) == counts["size"] > 0
    # What they are worth is not known, and nobody invents it.
    assert all(trial.state is TrialState.PRUNED and trial.values is None for trial in broken)


def test_objectives_that_are_all_known_are_told_of_what_the_screen_keeps_out(
        make_problem: MakeProblem, evaluate: Evaluator) -> None:
    problem = make_problem(threshold=11, objectives=(Objective("speed", "1/s", "maximize"),))
    run("Constrained", problem, evaluate)
    broken = [trial for trial in Told.ended if trial.constraints["bound0"] > 0]
    assert broken
    assert all(trial.state is TrialState.COMPLETE and
               trial.values[0] == pytest.approx(1 / (trial.constraints["bound0"] + 11))
               for trial in broken)


class Gate:
    """Keeps out one candidate in four, by its digest."""

    names = ("fourth",)

    def __call__(self, arch: Arch) -> str | None:
        return "fourth" if int(arch.digest, 16) % 4 == 0 else None

    def tell(self, outcomes: Sequence[Outcome]) -> None: ...

    def record(self) -> Mapping[str, Any]:
        return {}

    def recall(self, records: Iterable[Mapping[str, Any]]) -> None: ...


def test_what_the_gate_keeps_out_breaks_no_bound(make_problem: MakeProblem,
                                                 evaluate: Evaluator) -> None:
    outcomes, counts = run("Constrained", replace(make_problem(), gate=Gate()),
                           evaluate)
    assert all(int(outcome.trial.arch.digest, 16) % 4 for outcome in outcomes)
    assert counts["sampled"] == 20 + counts["duplicate"] + counts["size"] + counts["fourth"]
    assert states()[TrialState.PRUNED] == counts["sampled"] - 20
    broken = [trial for trial in Told.ended if trial.constraints["bound0"] > 0]
    assert len(broken) == counts["size"]
    assert counts["fourth"] > 0


def test_genes_are_only_suggested_where_they_matter(
        make_problem: MakeProblem, evaluate: Evaluator, space: GeneSpace) -> None:
    run("Free", make_problem(threshold=np.inf), evaluate)
    seen = {trial.params["depth"] + 1: set(trial.params) for trial in Told.ended}
    names = {gene.name for gene in space.genes}
    assert seen == {1: names - {"width1", "width2"}, 2: names - {"width2"}, 3: names}


def test_samplers_without_conditional_parameters_inherit_every_gene(
        make_problem: MakeProblem, evaluate: Evaluator, space: GeneSpace) -> None:
    outcomes, _ = run("Genetic", make_problem(threshold=np.inf), evaluate, population_size=4)
    assert all(set(trial.params) == {gene.name for gene in space.genes} for trial in Told.ended)
    for outcome in outcomes:
        assert space.canonical(outcome.trial.arch) == outcome.trial.arch


def test_random_architectures_stand_in_for_a_sampler_that_is_stuck(
        make_problem: MakeProblem, evaluate: Evaluator) -> None:
    outcomes, counts = run("Stuck", make_problem(), evaluate, budget=8)
    assert len({outcome.trial.arch.digest for outcome in outcomes}) == 8
    assert counts["duplicate"] >= 7 * 20
    # They are told as if they had been its own.
    told = states()
    assert told[TrialState.COMPLETE] + told[TrialState.FAIL] == 8


def test_sampler_that_fails_is_one_line(make_problem: MakeProblem, evaluate: Evaluator) -> None:
    with pytest.raises(NasError, match=r"Failing' failed \(RuntimeError: no more ideas\)"):
        run("Failing", make_problem(threshold=np.inf), evaluate)


@pytest.mark.parametrize("name", [*OPTUNA, "optuna-cmaes"])
def test_nothing_is_said_and_optuna_is_left_as_it_was(
        make_problem: MakeProblem, evaluate: Evaluator, capfd: pytest.CaptureFixture[str],
        name: str) -> None:
    before = optuna.logging.get_verbosity()
    problem = make_problem()
    run(name, replace(problem, objectives=problem.objectives[:1]), evaluate, budget=16)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_tpe_learns_from_what_the_screen_keeps_out(make_problem: MakeProblem,
                                                   evaluate: Evaluator) -> None:
    exits = {True: 0, False: 0}
    for seed in range(3):
        problem = make_problem(seed=seed, threshold=10)
        for learns in exits:
            given = problem if learns else replace(problem, excess=None)
            exits[learns] += run("optuna-tpe", given, evaluate, budget=20)[1]["size"]
    assert exits[True] < 0.8 * exits[False]


def test_gaussian_process_proposes_the_same_once_more_and_after_an_interrupt(
        make_problem: MakeProblem, evaluate: Evaluator, make_ledger: Callable[..., Ledger]) -> None:
    problem = make_problem()

    def search(ledger: Ledger, *, start: int = 5, stop: int = 9) -> list[Outcome]:
        searcher = make_searcher("optuna-gp", problem, options={"n_startup_trials": start})
        return drive(searcher, SerialExecutor(), evaluate, ledger, budget=stop, batch_size=2)

    whole, parts = make_ledger(problem), make_ledger(problem)
    modelled = search(whole)
    search(parts, stop=8)
    assert search(parts) == modelled
    assert ledger_equal(whole, parts)
    assert search(make_ledger(problem), start=50) != modelled


@pytest.mark.parametrize(("name", "budget"), [
    ("optuna-tpe", 50), ("optuna-cmaes", 50), ("optuna-nsga2", 120),
    pytest.param("optuna-gp", 40, marks=pytest.mark.slow)])
def test_one_smooth_objective_is_searched_better_than_by_chance(
        name: str, budget: int) -> None:
    genes = tuple(Gene(f"x{i}", tuple(range(12))) for i in range(5))
    # Two genes more that do not always matter.
    space = GeneSpace("bowl/1", (*genes, Gene("flag", ("on", "off")),
                                 Gene("extra", (0, 1, 2, 3), Condition("flag", ("on",)))))

    def bowl(arch: Arch) -> Mapping[str, float]:
        values = arch.as_dict()
        return {"error": sum((values[gene.name] - 4) ** 2 for gene in genes)
                + (values["flag"] == "on") * (1 + values["extra"])}

    def best(name: str) -> float:
        found = []
        for seed in range(4):
            problem = Problem(space=space, objectives=(Objective("error", ""),), seed=seed,
                              screen=lambda codes: Screening(np.ones(len(codes), np.bool_), {}))
            outcomes, _ = run(name, problem, bowl, budget=budget)
            found.append(min(outcome.metrics["error"] for outcome in outcomes))
        return float(np.mean(found))

    assert best(name) < 0.75 * best("Free")


@pytest.mark.parametrize("name", ["optuna-tpe", "evolution"])
def test_ledger_is_fit_for_the_plots_of_optuna(
        make_problem: MakeProblem, evaluate: Evaluator, make_ledger: Callable[..., Ledger],
        name: str, space: GeneSpace) -> None:
    problem = make_problem()
    ledger = make_ledger(problem)
    outcomes = drive(make_searcher(name, problem), SerialExecutor(), evaluate, ledger, budget=24,
                     batch_size=4)
    plots, error = optuna.visualization, partial(_value, 0)
    front = plots.plot_pareto_front(ledger.study)
    assert sum(len(trace.x) for trace in front.data) == sum(outcome.ok for outcome in outcomes)
    assert front.layout.xaxis.title.text == "error"
    history = plots.plot_optimization_history(ledger.study, target=error,
                    target_name="error")
    assert sorted(history.data[0].y) == sorted(o.metrics["error"] for o in outcomes if o.ok)
    always = [gene.name for gene in space.genes if gene.condition is None]
    importances = plots.plot_param_importances(
        ledger.study, target=error, target_name="error", params=always,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
    assert set(importances.data[0].y) == set(always)
    conditional = plots.plot_slice(ledger.study, params=["width2"], target=error,
                    target_name="error")
    assert len(conditional.data[0].x) == sum(
        o.ok and o.trial.arch.as_dict()["depth"] == 3 for o in outcomes)
    assert plots.plot_parallel_coordinate(ledger.study, target=error,
                    target_name="error").data
    assert plots.plot_timeline(ledger.study).data


def _value(index: int, trial: FrozenTrial) -> float:
    return float(trial.values[index])


pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ExperimentalWarning.__module__}.{ExperimentalWarning.__name__}")
