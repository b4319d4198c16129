"""Mean costs are those of all networks, weighted by how likely they are."""

import itertools

import numpy as np
import pytest
import timm
import torch
from tas_subjects import make_cost, make_supernet

from nas.core.errors import SpaceError
from supernets.tas.expected_cost import ExpectedCost, cost_loss
from supernets.timm.cifar_resnet import register

register()


@pytest.fixture(scope="module")
def supernet():
    # Two blocks a stage, two choices of each width: 2^16 codes, with depths and picked widths.
    model = timm.create_model("cifar_resnet20", num_classes=10, depth=2)
    return make_supernet("cifar_resnet20", model=model, inner=(0.5, 1.0), width=(0.25, 1.0))


@pytest.fixture(scope="module")
def codes(supernet):
    choices = [range(len(gene.choices)) for gene in supernet.space.genes]
    return np.array(list(itertools.product(*choices)), dtype=np.int16)


def drawn(supernet, seed):
    generator = torch.Generator().manual_seed(seed)
    return {gene.name: (2 * torch.randn(len(gene.choices), generator=generator)).double().softmax(0)
            for gene in supernet.space.genes}


def enumerated(supernet, codes, probabilities, costs):
    each = np.stack([probabilities[gene.name].numpy()[codes[:, place]]
                     for place, gene in enumerate(supernet.space.genes)])
    assert each.prod(0).sum() == pytest.approx(1.0)
    return float(each.prod(0) @ costs)


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_it_is_the_mean_over_all_networks(supernet, codes, metric):
    cost = make_cost(supernet, metric)
    assert supernet.slots.picked  # stages pass on the width of the last block that is kept
    expected = cost.expected(supernet.space.extreme(largest=True))
    for seed in range(3):
        probabilities = drawn(supernet, seed)
        found = expected(probabilities)
        assert float(found) == pytest.approx(
            enumerated(supernet, codes, probabilities, cost.predict(codes)), rel=1e-9)


def test_it_holds_for_any_table_of_blocks(supernet, codes):
    # Latency is no product of widths.
    rng = np.random.default_rng(0)
    table = rng.lognormal(size=len(supernet.vocabulary))
    ids = supernet.block_ids(codes)
    costs = 0.3 + np.where(ids >= 0, table[ids], 0.0).sum(1)
    probabilities = drawn(supernet, 5)
    found = ExpectedCost(supernet.slots, table, offset=0.3)(probabilities)
    assert float(found) == pytest.approx(enumerated(supernet, codes, probabilities, costs))


def test_of_a_certain_network_it_is_its_cost(supernet):
    cost = make_cost(supernet)
    rng = np.random.default_rng(0)
    for arch in (supernet.space.sample(rng) for _ in range(5)):
        certain = {gene.name: torch.nn.functional.one_hot(
            torch.tensor(gene.choices.index(value)), len(gene.choices)).double()
            for gene, (_, value) in zip(supernet.space.genes, arch.choices, strict=True)}
        assert float(cost.expected(arch)(certain)) == pytest.approx(cost.of(arch))


def test_gradients_say_what_a_wider_choice_costs(supernet):
    expected = make_cost(supernet).expected(supernet.space.extreme(largest=True))
    probabilities = {name: values.requires_grad_() for name, values in drawn(supernet, 1).items()}
    expected(probabilities).backward()
    for values in probabilities.values():
        assert values.grad[-1] > values.grad[0]


def test_blocks_that_read_a_gene_twice_are_refused():
    # Which width a block reads depends on the depth, and so does whether it is there.
    model = timm.create_model("cifar_resnet20", num_classes=10, depth=2)
    supernet = make_supernet("cifar_resnet20", model=model, inner=(1.0,), width=(1.0,),
                             order={"stage0": (0, 1)})
    with pytest.raises(SpaceError, match=r"depends twice on one of .*stage0.depth"):
        make_cost(supernet).expected(supernet.space.extreme(largest=True))


@pytest.mark.parametrize(("found", "sign"), [(94.0, -1), (95.5, 0), (104.5, 0), (106.0, 1)])
def test_the_loss_of_cost_has_two_sides(found, sign):
    expected = torch.tensor(80.0, requires_grad=True)
    loss = cost_loss(expected, found=found, target=100.0, tolerance=0.05)
    assert float(loss.detach()) == pytest.approx(sign * np.log(80.0))
    if sign:
        loss.backward()
        assert float(expected.grad) == pytest.approx(sign / 80.0)
