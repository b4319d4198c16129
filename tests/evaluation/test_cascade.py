import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from nas.core.costs import ClosedFormCosts, Estimate
from nas.core.errors import ConstraintError, EvaluationError, InputError
from nas.core.problem import Constraint
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.types import FloatArray, IntArray
from nas.evaluation.cascade import Cascade, CostStage, check_feasible, smallest_reachable
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, StageConfig, build_space

SPACE = GeneSpace("toy/1", (
    Gene("depth", (1, 2, 3)), Gene("width", (8, 16, 24)),
    *(Gene(f"kernel{i}", (3, 5, 7), Condition("depth", (2, 3)) if i else None) for i in range(3))))


@dataclass(frozen=True)
class Toy:
    """`big` and `small` pull against each other; the upper end lies `slack` above the value."""

    slack: float = 0.0
    metrics: Mapping[str, str] = field(
        default_factory=lambda: {"big": "1", "small": "1", "nan": "1"})

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        live = SPACE.active(codes)
        big = ((codes + 1.0) * live).sum(axis=1)
        value = {"big": big, "small": 16.0 - big, "nan": big * np.nan}[metric]
        return Estimate(value, value, value + self.slack, "exact")

    def block_table(self, metric: str) -> FloatArray | None:
        del metric
        return None


def stage(metric: str, bound: float, slack: float = 0.0) -> CostStage:
    return CostStage(Constraint(metric, bound, f"--max-{metric} {bound:g}"), Toy(slack))


@pytest.fixture
def codes() -> IntArray:
    return SPACE.sample_codes(500, np.random.default_rng(0))


def test_no_stages_let_everything_pass(codes: IntArray) -> None:
    screening = Cascade()(codes)
    assert screening.passed.all()
    assert screening.exits == {}


def test_stage_holds_the_upper_end_to_the_bound(codes: IntArray) -> None:
    value = Toy().predict("big", codes).value
    assert (stage("big", 9)(codes) == (value <= 9)).all()
    assert (stage("big", 9, slack=2.0)(codes) == (value <= 7)).all()


def test_each_stage_sees_and_counts_only_survivors(codes: IntArray) -> None:
    value = Toy().predict("big", codes).value
    screening = Cascade((stage("big", 9), stage("small", 10)))(codes)
    assert (screening.passed == ((value <= 9) & (value >= 6))).all()
    assert screening.exits == {"big": (value > 9).sum(), "small": (value < 6).sum()}
    assert screening.passed.sum() + sum(screening.exits.values()) == len(codes)


def test_later_stage_is_not_called_for_nobody(codes: IntArray) -> None:
    screening = Cascade((stage("big", 0), stage("nan", 1)))(codes)
    assert screening.exits == {"big": 500, "nan": 0}


def test_cost_that_is_nan_is_an_error(codes: IntArray) -> None:
    with pytest.raises(EvaluationError, match="NaN as nan"):
        Cascade((stage("nan", 1),))(codes)


def test_two_stages_of_one_name_are_an_error() -> None:
    with pytest.raises(InputError, match="two early exits are called 'big'"):
        Cascade((stage("big", 1), stage("big", 2)))


def test_smallest_reachable_equals_brute_force(tiny_config: MobileNetConfig) -> None:
    space = build_space(tiny_config)
    vocabulary = build_vocabulary(tiny_config, space)
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    everything = np.array(list(itertools.product(
        *(range(len(gene.choices)) for gene in space.genes))), dtype=np.int16)
    for metric in costs.metrics:
        expected = costs.predict(metric, everything).upper.min()
        assert smallest_reachable(space, costs, metric, np.random.default_rng(0)) == expected


def test_smallest_reachable_does_not_need_ascending_choices() -> None:
    assert smallest_reachable(SPACE, Toy(), "small", np.random.default_rng(0)) == 16 - 15


def test_feasible_constraints_pass() -> None:
    check_feasible((stage("big", 9), stage("small", 10)), SPACE, np.random.default_rng(0))
    check_feasible((), SPACE, np.random.default_rng(0))


def test_impossible_constraint_is_named_with_the_smallest_reachable_value() -> None:
    with pytest.raises(ConstraintError) as caught:
        check_feasible((stage("small", 12), stage("big", 2)), SPACE, np.random.default_rng(0),
                       draws=100)
    assert str(caught.value) == ("--max-big 2: no architecture of toy/1 is that small; "
                                 "the smallest reachable big is 3")


def test_constraints_that_exclude_each_other_are_all_named() -> None:
    with pytest.raises(ConstraintError, match="--max-big 7 and --max-small 7: none of 1000 random "
                                              "architectures of toy/1 passes all of them"):
        check_feasible((stage("big", 7), stage("small", 7)), SPACE, np.random.default_rng(0),
                       draws=1000)


@pytest.mark.parametrize("quantile", [0.05, 0.3, 0.6])
def test_acceptance_rate_of_early_exits_agrees_with_enumeration(quantile: float) -> None:
    config = MobileNetConfig(
        name="mobilenet-small/1", input_shape=(1, 16, 16), num_classes=5, stem_width=8,
        head_width=24, stages=(
            StageConfig(widths=(8, 12), depths=(1, 2), kernels=(3, 5), expansions=(1, 2)),
            StageConfig(widths=(12, 16), depths=(1, 2), kernels=(3, 7), expansions=(2, 3))))
    space = build_space(config)
    vocabulary = build_vocabulary(config, space)
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    # Every raw draw is equally likely; several stand for one network where genes are not live.
    raw = np.array(list(itertools.product(
        *(range(len(gene.choices)) for gene in space.genes))), dtype=np.int16)
    distinct, weights = np.unique(space.canonical_codes(raw), axis=0, return_counts=True)
    assert len(distinct) == space.size
    params = costs.predict("params", distinct).value
    bound = float(np.quantile(params, quantile))
    expected = weights[params <= bound].sum() / weights.sum()

    draws = 20_000
    screen = Cascade((CostStage(Constraint("params", bound, "--max-params"), costs),))
    screening = screen(space.sample_codes(draws, np.random.default_rng(1)))
    sigma = np.sqrt(expected * (1 - expected) / draws)
    assert screening.passed.mean() == pytest.approx(expected, abs=4 * sigma)
    assert screening.exits["params"] == draws - screening.passed.sum()
