"""The sampling rules: which architectures they draw, and that nothing else decides."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nas.core.errors import InputError, UnknownNameError
from nas.core.space import Condition, Gene, GeneSpace
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.training.rules import RULES, RuleContext, macs_of, make_rule
from supernets.training.sampling import (
    Attentive,
    Largest,
    ParetoWeighted,
    Sandwich,
    SinglePath,
    Uniform,
)
from supernets.training.shrinking import ProgressiveShrinking

STEPS = 120
GROWING = GeneSpace("growing/1", (
    Gene("resolution", (128, 160, 192)), Gene("stage0.depth", (1, 2, 3)),
    Gene("stage0.block0.kernel", (3, 5, 7)),
    Gene("stage0.block1.kernel", (3, 5, 7), Condition("stage0.depth", (2, 3))),
    Gene("stage0.block1.expansion", (2, 4), Condition("stage0.depth", (2, 3))),
    Gene("stage0.width", (8, 16, 24))))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def context(tiny_supernet: MobileNetSupernet) -> RuleContext:
    front = tiny_supernet.space.sample_codes(5, rng(9))
    return RuleContext(supernet=tiny_supernet, total_steps=STEPS, front=lambda _: front)


# All rules

@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_pure_function_that_stays_in_the_space(name: str,
                                                           context: RuleContext) -> None:
    rule, space = make_rule(name, context), context.supernet.space
    for step in (0, 50, STEPS - 1):
        archs = rule(space, rng(step), step)
        assert len(archs) >= 1
        assert list(archs) == list(make_rule(name, context)(space, rng(step), step))
        assert all(space.canonical(arch) == arch for arch in archs)
    drawn = [tuple(rule(space, rng(seed), STEPS - 1)) for seed in range(20)]
    assert len(set(drawn)) > 10


@pytest.mark.parametrize("name", RULES)
def test_who_teaches_is_the_largest(name: str, context: RuleContext) -> None:
    rule, space = make_rule(name, context), context.supernet.space
    firsts = {rule(space, rng(seed), 0)[0] for seed in range(20)}
    assert rule.teaches == (firsts == {space.extreme(largest=True)})
    assert rule.teaches == (name not in ("uniform", "single-path"))


@pytest.mark.parametrize("name", RULES)
def test_a_rules_text_is_the_same_in_every_process(name: str, context: RuleContext) -> None:
    # It is in checkpoints: no address of a function may be in it.
    assert "0x" not in repr(make_rule(name, context))


def test_counts(context: RuleContext) -> None:
    space = context.supernet.space
    assert len(Uniform(count=3)(space, rng())) == 3
    assert len(SinglePath()(space, rng())) == 1
    assert len(ProgressiveShrinking(total_steps=1, count=4)(space, rng(), 0)) == 5
    assert len(Attentive(score=macs_of(context.supernet), best=True, count=3)(space, rng())) == 5


def test_the_largest_alone_is_no_teacher(context: RuleContext) -> None:
    space = context.supernet.space
    assert Largest()(space, rng()) == [space.extreme(largest=True)]
    assert not Largest().teaches


# Attentive

@pytest.mark.parametrize("best", [True, False])
def test_attentive_keeps_the_best_or_the_worst_of_what_it_draws(best: bool,
                                                                context: RuleContext) -> None:
    space, seen = context.supernet.space, []

    def score(codes: Any) -> Any:
        seen.append(codes)
        return macs_of(context.supernet)(codes)

    archs = Attentive(score=score, best=best, among=4, count=3)(space, rng())
    assert archs[:2] == [space.extreme(largest=True), space.extreme(largest=False)]
    (codes,) = seen
    groups = macs_of(context.supernet)(codes).reshape(3, 4)
    kept = macs_of(context.supernet)(space.encode(archs[2:]))
    np.testing.assert_array_equal(kept, groups.max(1) if best else groups.min(1))


def test_best_up_by_name_draws_larger_networks_than_worst_up(context: RuleContext) -> None:
    def mean_macs(name: str) -> float:
        rule, space = make_rule(name, context), context.supernet.space
        archs = [arch for seed in range(50) for arch in rule(space, rng(seed), 0)[2:]]
        return float(macs_of(context.supernet)(space.encode(archs)).mean())

    assert mean_macs("best-up") > 1.15 * mean_macs("worst-up")


# Pareto-weighted

def test_mutants_are_near_the_front(context: RuleContext) -> None:
    space = context.supernet.space
    member = space.sample_codes(1, rng(3))
    archs = ParetoWeighted(front=lambda _: member, count=40, rate=0.0)(space, rng(), 0)[2:]
    origin = space.decode(member)[0]
    assert origin not in archs
    for arch in archs:  # rate 0: one gene moves, and what it makes dead or live follows
        moved = [a != b for a, b in zip(arch.choices, origin.choices, strict=True)]
        assert 1 <= sum(moved) < len(moved) / 2
    assert len(set(archs)) > 5


def test_the_front_is_asked_for_at_each_step_and_may_be_empty(context: RuleContext) -> None:
    space, asked = context.supernet.space, []

    def front(step: int) -> Any:
        asked.append(step)
        return space.sample_codes(0, rng())

    rule = ParetoWeighted(front=front, count=3)
    assert rule(space, rng(1), 7) == Sandwich(n_random=3)(space, rng(1))
    assert asked == [7]


# Progressive shrinking

def test_phases_open_kernel_then_depth_then_width() -> None:
    rule = ProgressiveShrinking(total_steps=120)

    def opened(step: int) -> list[int]:
        return rule.opened(GROWING, step).tolist()

    #                        resolution depth k0 k1 expansion width
    assert opened(0) == [3, 1, 2, 2, 1, 1]
    assert opened(20) == [3, 1, 3, 3, 1, 1]
    assert opened(39) == [3, 1, 3, 3, 1, 1]
    assert opened(40) == [3, 2, 3, 3, 1, 1]
    assert opened(60) == [3, 3, 3, 3, 1, 1]
    assert opened(80) == [3, 3, 3, 3, 2, 2]
    assert opened(100) == opened(119) == [3, 3, 3, 3, 2, 3]


def test_what_is_not_open_stays_at_its_largest_and_all_that_is_is_drawn() -> None:
    rule = ProgressiveShrinking(total_steps=120, count=200)
    for step in (0, 39, 40, 79, 80, 119):
        opened = rule.opened(GROWING, step)
        codes = GROWING.encode(rule(GROWING, rng(step), step)[1:])
        live = GROWING.active(codes)
        for column, gene in enumerate(GROWING.genes):
            found = set(codes[live[:, column], column].tolist())
            assert found == set(range(len(gene.choices) - opened[column], len(gene.choices)))


def test_a_closed_depth_leaves_no_kernel_at_its_smallest_by_accident() -> None:
    codes = GROWING.encode(ProgressiveShrinking(total_steps=120, count=3000)(
        GROWING, rng(), 30)[1:])
    shares = np.bincount(codes[:, GROWING.positions["stage0.block1.kernel"]]) / len(codes)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.04)


# What goes wrong

@pytest.mark.parametrize(("make", "match"), [
    (lambda: Uniform(count=0), "draws 1 architecture or more, not 0"),
    (lambda: Attentive(score=len, best=True, among=0), "1 architecture or more"),
    (lambda: ParetoWeighted(front=len, rate=1.5), r"mutation rate 1\.5 is outside"),
    (lambda: ParetoWeighted(front=len, count=0), "1 architecture or more"),
    (lambda: ProgressiveShrinking(total_steps=0), "takes 1 step"),
    (lambda: ProgressiveShrinking(total_steps=9)(GROWING, rng(), 9), "step 9 is outside the 9"),
])
def test_settings_out_of_range(make: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_names(tiny_supernet: MobileNetSupernet) -> None:
    context = RuleContext(supernet=tiny_supernet, total_steps=3)
    with pytest.raises(UnknownNameError, match="did you mean sandwich"):
        make_rule("sandwhich", context)
    with pytest.raises(InputError, match="around the front of a search, and none runs"):
        make_rule("pareto", context)
