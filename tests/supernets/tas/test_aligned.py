"""Networks whose widths are multiples of something."""

import pytest
from tas_subjects import FINE, make_cost, make_subject, make_supernet

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.tas.aligned import aligned
from supernets.tas.methods.random import random
from supernets.tas.methods.uniform import uniform
from supernets.tas.subject import Subject
from supernets.timm.supernet import TimmSupernet


@pytest.fixture(scope="module")
def net() -> TimmSupernet:
    return make_supernet("cifar_resnet20", inner=FINE, width=FINE)


def project(subject: Subject, arch: Arch, multiple: int) -> Arch:
    return aligned(subject.budget, arch, widths=subject.supernet.elastic.choices,
                   multiple=multiple)


def widths_of(subject: Subject, arch: Arch) -> dict[str, int]:
    """The widths that matter."""
    space = subject.supernet.space
    live = space.active(space.encode([arch]))[0]
    return {name: int(arch.as_dict()[name]) for name in subject.supernet.elastic.choices
            if live[space.positions[name]]}


@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("share", [0.55, 0.6, 0.8])
@pytest.mark.parametrize("multiple", [2, 4, 8])
def test_widths_are_multiples_near_the_budget(net: TimmSupernet, metric: str, share: float,
                                              multiple: int) -> None:
    subject = make_subject(net, share, metric=metric)
    for arch in (uniform(subject), random(subject)):
        found = project(subject, arch, multiple)
        choices = net.elastic.choices
        assert all(width % multiple == 0 or width == choices[name][-1]
                   for name, width in widths_of(subject, found).items())
        assert 0.9 * subject.budget.limit <= subject.budget.cost.of(found) <= subject.budget.limit
        assert net.space.canonical(found) == found
        kept = {gene.name for gene in net.space.genes} - set(choices)
        assert kept
        assert all(found.as_dict()[name] == arch.as_dict()[name] for name in kept)


def test_what_is_aligned_already_stays(net: TimmSupernet) -> None:
    subject = make_subject(net, 0.6)
    once = project(subject, uniform(subject), 8)
    assert project(subject, once, 8) == once
    assert project(subject, once, 4) == once
    assert once != uniform(subject)


def test_it_is_nearer_than_an_aligned_network_of_another_choice(net: TimmSupernet) -> None:
    one, other = (random(make_subject(net, 0.6, seed=seed)) for seed in (0, 1))
    subject = make_subject(net, 0.6)
    depth = {gene.name: gene.choices[-1] for gene in net.space.genes
             if gene.name not in net.elastic.choices}
    one, other = (net.space.canonical(Arch(net.space.id, tuple(
        (name, depth.get(name, value)) for name, value in arch.choices))) for arch in (one, other))

    def distance(a: Arch, b: Arch) -> float:
        pairs = zip(widths_of(subject, a).items(), widths_of(subject, b).values(), strict=True)
        return sum(abs(width - found) / net.elastic.choices[name][-1]
                   for (name, width), found in pairs)

    mine, others = (project(subject, arch, 4) for arch in (one, other))
    assert distance(one, mine) < distance(one, others)
    assert distance(other, others) < distance(other, mine)


def test_depth_moves_where_widths_cannot_reach_the_budget(net: TimmSupernet) -> None:
    # Multiples of 16 keep two stages whole and halve the last one.
    subject = make_subject(net, 0.3)
    arch = uniform(subject)
    assert all(arch.as_dict()[gene.name] == gene.choices[-1] for gene in net.space.genes
               if gene.name not in net.elastic.choices)
    found = project(subject, arch, 16)
    assert subject.budget.cost.of(found) <= subject.budget.limit
    assert any(found.as_dict()[gene.name] != gene.choices[-1] for gene in net.space.genes
               if gene.name not in net.elastic.choices)


def test_a_budget_below_every_aligned_network_is_refused(net: TimmSupernet) -> None:
    cost = make_cost(net)
    least = cost.of(net.space.extreme(largest=False)) / cost.of(net.space.extreme(largest=True))
    subject = make_subject(net, 1.01 * least)
    with pytest.raises(InputError, match=r"multiples of 16 costs .* the least is"):
        project(subject, random(subject), 16)


def test_where_the_whole_widths_cost_less_than_the_limit_they_are_taken(net: TimmSupernet) -> None:
    subject = make_subject(net, 0.9)
    shallow = net.space.canonical(Arch(net.space.id, tuple(
        (gene.name, gene.choices[-1] if gene.name in net.elastic.choices else gene.choices[0])
        for gene in net.space.genes)))
    assert subject.budget.cost.of(shallow) < 0.88 * subject.budget.limit
    assert project(subject, shallow, 16) == shallow
