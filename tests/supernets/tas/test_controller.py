"""What a controller draws, and where the cost of what it finds likeliest ends."""

import numpy as np
import pytest
import torch
from tas_subjects import FINE, make_cost, make_supernet

from nas.core.errors import EvaluationError
from nas.core.space import Gene, GeneSpace
from supernets.tas.balance import CostLoss
from supernets.tas.budget import Budget, NetworkCost, best_within
from supernets.tas.controller import Controller

SPACE = GeneSpace("toy", (Gene("depth", (1, 2, 3)), Gene("a.width", (4, 8, 12, 16)),
                          Gene("b.width", (8,))))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def set_logits(controller, logits):
    with torch.no_grad():
        for gene, values in logits.items():
            controller.logits[gene.replace(".", "/")].copy_(values)


def make_controller(space=SPACE, *, seed=0):
    depths = [gene.name for gene in space.genes if gene.name.endswith("depth")]
    return Controller(space, depths=depths, generator=generator(seed))


def test_logits_start_alike():
    controller = make_controller()
    for values in controller.probabilities().values():
        assert torch.allclose(values, torch.full_like(values, 1 / len(values)), atol=0.02)
    again = make_controller().probabilities()
    assert all(torch.equal(values, again[name])
               for name, values in controller.probabilities().items())


@pytest.mark.parametrize("temperature", [0.05, 1.0, 10.0])
def test_two_different_widths_are_drawn(temperature):
    controller = make_controller()
    noise = generator(1)
    seen = set()
    for _ in range(200):
        draw = controller.draw(temperature, noise)["a.width"]
        assert len(set(draw.positions)) == 2
        assert float(draw.weights.detach().sum()) == pytest.approx(1.0, abs=1e-6)
        seen |= set(draw.positions)
    assert seen == {0, 1, 2, 3}


def test_depths_weight_all_their_choices():
    draw = make_controller().draw(1.0, generator(0))
    assert draw["depth"].positions == (0, 1, 2)
    assert draw["b.width"].positions == (0,)
    assert draw["b.width"].weights.tolist() == [1.0]


def test_at_low_temperatures_draws_follow_the_probabilities():
    controller = make_controller()
    wanted = torch.tensor([0.1, 0.2, 0.3, 0.4])
    set_logits(controller, {"a.width": wanted.log()})
    noise, count = generator(0), 2000
    draws = [controller.draw(1e-3, noise)["a.width"] for _ in range(count)]
    first = np.bincount([draw.positions[0] for draw in draws], minlength=4) / count
    assert np.abs(first - wanted.numpy()).max() < 4 * 0.5 / count ** 0.5  # 4 deviations, at most
    assert np.mean([float(draw.weights.detach()[0]) for draw in draws]) > 0.99


def test_draws_have_gradients_towards_what_is_better():
    controller, noise = make_controller(), generator(0)
    for _ in range(300):
        draw = controller.draw(1.0, noise)["a.width"]
        (draw.weights @ torch.tensor([float(position != 2) for position in draw.positions])
         ).backward()
    gradient = controller.logits["a/width"].grad
    assert int(gradient.argmin()) == 2


def test_logits_that_are_not_finite_are_an_error():
    controller = make_controller()
    set_logits(controller, {"a.width": torch.full((4,), torch.nan)})
    with pytest.raises(EvaluationError, match=r"logits of a.width are not finite; lower"):
        controller.draw(1.0, generator(0))


@pytest.fixture(scope="module")
def supernet():
    return make_supernet("cifar_resnet20", inner=FINE[::2] + FINE[-1:], width=(0.4, 0.7, 1.0))


def descend(controller, loss_of, *, steps, rate=0.03):
    optimizer = torch.optim.Adam(controller.parameters(), lr=rate, betas=(0.5, 0.999),
                                 weight_decay=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()


def latency_cost(supernet):
    # Like a measured one: each block costs a start and is noisy, so that wider may be faster.
    rng = np.random.default_rng(0)
    macs = make_cost(supernet).shares(np.zeros(0))
    table = (0.01 + 0.1 * macs / macs.max()) * rng.lognormal(sigma=0.05, size=len(macs))

    def predict(codes):
        ids = supernet.block_ids(codes)
        return 0.02 + np.where(ids >= 0, table[ids], 0.0).sum(1)

    return NetworkCost(metric="latency_ms", space=supernet.space, vocabulary=supernet.slots,
                       predict=predict, shares=lambda _: table)


@pytest.mark.parametrize("metric", ["macs", "params", "latency_ms"])
def test_cost_alone_leads_into_the_band_from_both_sides(supernet, metric):
    cost = latency_cost(supernet) if metric == "latency_ms" else make_cost(supernet, metric)
    whole = cost.of(supernet.space.extreme(largest=True))
    sides = set()
    for start in range(10):
        leaning = (-0.2, 0.2, 0.0)[start % 3]  # to narrow networks, to wide ones, to none
        budget = Budget(cost=cost, limit=(0.3 + 0.5 * start / 9) * whole)
        controller = make_controller(supernet.space, seed=start)
        set_logits(controller, {
            gene.name: controller.logits[gene.name.replace(".", "/")].detach()
            + leaning * torch.arange(len(gene.choices)) for gene in supernet.space.genes})
        sides.add(cost.of(controller.most_likely()) > budget.limit)
        loss = CostLoss(budget, 0.05)
        descend(controller, lambda c=controller, loss=loss: 2 * loss(c), steps=100)
        assert 0.95 <= cost.of(controller.most_likely()) / budget.limit <= 1.05
    assert sides == {True, False}


def test_layers_that_need_few_channels_are_pruned():
    # In half of the layers 4 of 16 channels solve the task; in the others every one counts.
    supernet = make_supernet("cifar_resnet20", inner=(0.25, 0.5, 0.75, 1.0), width=(1.0,),
                             depth=1.0)
    cost, space = make_cost(supernet), supernet.space
    layers = [gene for gene in space.genes if len(gene.choices) > 1]
    budget = Budget(cost=cost, limit=0.65 * cost.of(space.extreme(largest=True)))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        easy = {layers[place].name for place in rng.permutation(len(layers))[::2]}
        controller, noise = make_controller(space, seed=seed), generator(seed)
        cost_loss = CostLoss(budget, 0.05)

        def missing(gene, choice, easy=easy):
            return 0.0 if gene.name in easy else 1.0 - choice / gene.choices[-1]

        def loss(controller=controller, noise=noise, cost_loss=cost_loss, missing=missing):
            draws = controller.draw(1.0, noise)
            task = sum(draws[gene.name].weights @ torch.tensor(
                [missing(gene, gene.choices[position]) for position in draws[gene.name].positions])
                for gene in layers)
            return task + 2 * cost_loss(controller)

        descend(controller, loss, steps=80, rate=0.1)
        wanted = {name: values.detach().log().tolist()
                  for name, values in controller.probabilities().items()}
        found = best_within(budget, wanted).as_dict()
        draws = rng.random((10, sum(len(gene.choices) for gene in space.genes)))
        others = []
        for row in draws:
            ends = np.cumsum([len(gene.choices) for gene in space.genes])[:-1]
            others.append(best_within(budget, {
                gene.name: part.tolist() for gene, part in
                zip(space.genes, np.split(row, ends), strict=True)}).as_dict())
        lost, *lost_by_chance = (sum(missing(gene, arch[gene.name]) for gene in layers)
                                 for arch in (found, *others))
        assert lost < min(lost_by_chance)
        kept = {gene.name: found[gene.name] / gene.choices[-1] for gene in layers}
        assert (np.mean([kept[name] for name in easy])
                < 0.6 * np.mean([kept[name] for name in set(kept) - easy]))
