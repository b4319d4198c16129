"""Budgets are met from either side, and what cannot be met is said."""

import re

import numpy as np
import pytest
from tas_subjects import MODELS, make_cost, make_subject, make_supernet

from nas.core.errors import InputError
from supernets.tas.budget import Budget, best_within, topped_up
from supernets.tas.methods.magnitude import magnitude
from supernets.tas.methods.precrop import precrop
from supernets.tas.methods.random import random
from supernets.tas.methods.uniform import uniform

METHODS = {"uniform": uniform, "random": random, "precrop": precrop, "magnitude": magnitude}


def number_behind(words, raised):
    found = re.search(rf"{words},? ([\d,.]+(e\+\d+)?)", str(raised.value))
    return float(found[1].rstrip(",.").replace(",", ""))


@pytest.fixture(scope="module", params=MODELS)
def supernet(request):
    return make_supernet(request.param)


@pytest.mark.parametrize("method", METHODS)
def test_methods_meet_the_budget(supernet, method):
    for metric, share in (("macs", 0.45), ("params", 0.7))[:1 if method == "magnitude" else 2]:
        subject = make_subject(supernet, share, metric=metric)
        arch = METHODS[method](subject)
        assert arch == supernet.space.canonical(arch)
        assert subject.budget.is_met(subject.budget.cost.of(arch))
        assert METHODS[method](subject) == arch
        if method != "random":
            values, whole = arch.as_dict(), supernet.space.extreme(largest=True).as_dict()
            assert all(values[gene] == whole[gene] for gene in values if gene.endswith("depth"))


def test_of_no_pruning_nothing_is_pruned(supernet):
    whole = supernet.space.extreme(largest=True)
    subject = make_subject(supernet, 1.0)
    assert all(method(subject) == whole for method in (uniform, precrop, magnitude))


def test_random_networks_differ_by_seed(supernet):
    assert random(make_subject(supernet, 0.5, seed=1)) != random(make_subject(supernet, 0.5))


def test_uniform_widths_are_about_the_same_part():
    supernet = make_supernet("resnet18")
    arch = uniform(make_subject(supernet, 0.5)).as_dict()
    parts = [arch[name] / choices[-1] for name, choices in supernet.elastic.choices.items()]
    assert max(parts) - min(parts) <= 0.25  # two choices, at most
    assert np.mean(parts) == pytest.approx(0.5 ** 0.5, abs=0.05)


def test_precrop_narrows_costly_layers_most():
    supernet = make_supernet("resnet18")
    arch = precrop(make_subject(supernet, 0.6, metric="params")).as_dict()
    parts = {name: arch[name] / choices[-1] for name, choices in supernet.elastic.choices.items()}
    assert parts["stage3.block1.inner"] < parts["stage0.block1.inner"]


def test_the_least_cost_is_named(supernet):
    cost = make_cost(supernet)
    least, most = (cost.of(supernet.space.extreme(largest=end)) for end in (False, True))
    with pytest.raises(InputError, match="smallest network of this space costs") as raised:
        Budget(cost=cost, limit=0.99 * least)
    assert number_behind("costs", raised) == pytest.approx(least, rel=1e-4)
    with pytest.raises(InputError, match="nothing to prune"):
        Budget(cost=cost, limit=1.01 * most)
    assert Budget(cost=cost, limit=least).limit == least


def test_excluded_layers_raise_the_least_cost():
    free, fixed = (make_supernet("resnet18", fixed=patterns)
                   for patterns in ((), ("layer3.*", "layer4")))
    whole = make_cost(free).of(free.space.extreme(largest=True))
    least = make_cost(fixed).of(fixed.space.extreme(largest=False))
    assert make_cost(free).of(free.space.extreme(largest=False)) < 0.3 * whole < least
    with pytest.raises(InputError, match="exclude fewer layers"):
        make_subject(fixed, 0.3)
    subject = make_subject(fixed, 0.8)
    for name, method in METHODS.items():
        arch = method(subject)
        assert subject.budget.is_met(subject.budget.cost.of(arch)), name
        module, original = fixed.extract(arch), free.model
        for layer in ("layer3.0.conv1", "layer3.1.conv2", "layer4.0.conv2", "layer4.1.conv1"):
            assert (module.get_submodule(layer).weight.shape
                    == original.get_submodule(layer).weight.shape), name


def test_methods_that_keep_depth_say_what_they_reach(supernet):
    cost = make_cost(supernet)
    least = cost.of(supernet.space.extreme(largest=False))
    narrowest = supernet.space.extreme(largest=True).as_dict() | {
        name: choices[0] for name, choices in supernet.elastic.choices.items()}
    at_full_depth = cost.of(type(supernet.space.extreme(largest=True))(
        supernet.space.id, tuple(narrowest.items())))
    assert least < at_full_depth
    subject = make_subject(supernet, 0.5 * (least + at_full_depth)
                           / cost.of(supernet.space.extreme(largest=True)))
    for method in (uniform, precrop, magnitude):
        with pytest.raises(InputError, match="at full depth no network costs less") as raised:
            method(subject)
        assert number_behind("less than", raised) == pytest.approx(at_full_depth, rel=1e-4)
    assert subject.budget.cost.of(random(subject)) <= subject.budget.limit


def test_what_is_wanted_most_is_kept(supernet):
    subject = make_subject(supernet, 0.6)
    genes = supernet.space.genes
    rng = np.random.default_rng(0)
    for _ in range(3):
        wanted = {gene.name: rng.random(len(gene.choices)).tolist() for gene in genes}
        arch = best_within(subject.budget, wanted)
        assert subject.budget.is_met(subject.budget.cost.of(arch))
        # Of a network within the budget nothing is changed.
        ideal = {gene.name: [float(value == arch.as_dict()[gene.name]) for value in gene.choices]
                 for gene in genes}
        assert best_within(subject.budget, ideal) == arch


def test_a_block_less_is_no_step_far_below_the_limit():
    # All widths are wanted whole, and of no depth more than of another: a block less costs nothing
    # that is wanted, but widths cannot grow to make up for it.
    supernet = make_supernet("cifar_resnet20")
    subject = make_subject(supernet, 0.97)
    wanted = {gene.name: [0.0 if gene.name.endswith("depth") else float(place)
                          for place in range(len(gene.choices))] for gene in supernet.space.genes}
    for name in wanted:
        if name.endswith("depth"):
            wanted[name][-1] = 1e-6
    arch = best_within(subject.budget, wanted)
    assert subject.budget.is_met(subject.budget.cost.of(arch))


def test_a_block_that_comes_back_is_as_wanted():
    # Shallow is wanted, but the budget has room; the blocks behind are wanted at full width.
    supernet = make_supernet("cifar_resnet20")
    subject = make_subject(supernet, 1.0)
    wanted = {gene.name: [float(place) for place in range(len(gene.choices))]
              for gene in supernet.space.genes}
    wanted["stage1.depth"] = [2.0, 1.0, 0.0]
    assert best_within(subject.budget, wanted) == supernet.space.extreme(largest=True)


def test_genes_without_a_preference_stay(supernet):
    subject = make_subject(supernet, 0.9)
    code = supernet.space.encode([supernet.space.extreme(largest=False)])[0]
    name, choices = max(supernet.elastic.choices.items(), key=lambda item: item[0])
    moved = supernet.space.decode(topped_up(
        subject.budget, {name: [0.0] * len(choices)}, code)[None])[0].as_dict()
    before = supernet.space.extreme(largest=False).as_dict()
    assert {gene for gene in moved if moved[gene] != before[gene]} <= {name}
