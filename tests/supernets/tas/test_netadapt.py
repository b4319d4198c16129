"""What is measured as of no use goes first, and budgets are met."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tas_subjects import make_cost, make_subject
from timm_models import make_model

from nas.core.arch import Arch
from nas.core.errors import DataError, EvaluationError, InputError
from supernets.calibrate import recalibrate
from supernets.tas.budget import Budget
from supernets.tas.methods.netadapt import Judge, NetAdapt
from supernets.tas.subject import Subject
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

PARTS = (0.5, 1.0)


@dataclass(frozen=True)
class Labelled:
    """A network's own answers to noise: whatever changes them is a loss."""

    model: torch.nn.Module
    searched: int = 2

    def example_inputs(self, batch, rng):
        return torch.from_numpy(rng.standard_normal((batch, 3, 16, 16), dtype="float32"))

    def batches(self, split):
        count = {"train_calib": 1, "search": self.searched}[split]
        for seed in range(count):
            with torch.no_grad():
                yield noise(seed), self.model(noise(seed)).softmax(1)

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)


def noise(seed):
    return torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def supernet_of(model, **options):
    recalibrate(model, [(noise(0), None)])  # so that its own answers lose least
    elastic = Elastic("sensitive/1", describe_model(model), Ratios(
        inner=PARTS, width=(1.0,), depth=0.01, multiple=1, nearest=False, kernels=False))
    return TimmSupernet(model, elastic, Labelled(model, **options)).eval()


@pytest.fixture(scope="module")
def planted():
    """Of layer2.1 half of the inner channels do nothing, and layer3.2 as a whole."""
    model = make_model("cifar_resnet20")
    with torch.no_grad():
        for layer in (model.layer2[1].bn1, model.layer3[2].bn2):
            layer.weight[8 if layer is model.layer2[1].bn1 else 0:] = 0
            layer.bias[8 if layer is model.layer2[1].bn1 else 0:] = 0
    return supernet_of(model)


def test_what_does_nothing_goes_first(planted):
    cost = make_cost(planted)
    whole = planted.space.extreme(largest=True)
    useless = planted.space.canonical(Arch(planted.space.id, tuple(
        {**whole.as_dict(), "stage1.block1.inner1": 8, "stage2.depth": 2}.items())))
    subject = Subject(supernet=planted, seed=0, budget=Budget(cost=cost, limit=cost.of(useless)))
    assert NetAdapt(steps=2)(subject) == useless


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_the_way_leads_down_to_the_budget(planted, metric):
    subject, judge = make_subject(planted, 0.6, metric=metric), Judge(planted)
    limit, cost = subject.budget.limit, subject.budget.cost
    path = NetAdapt(steps=3).path(subject, judge)
    assert path[0].arch == planted.space.extreme(largest=True)
    end = next(place for place, step in enumerate(path) if step.cost <= limit)
    costs = [step.cost for step in path]
    assert costs[:end + 1] == sorted(costs[:end + 1], reverse=True)
    # What is taken back costs more, but not too much, and lowers the loss.
    assert costs[end:] == sorted(costs[end:])
    assert costs[-1] <= limit
    losses = [step.loss for step in path[end:]]
    assert losses == sorted(losses, reverse=True)
    for step in path:
        assert (step.cost, step.loss) == (cost.of(step.arch), judge.losses[step.arch])


def test_a_budget_that_is_out_of_reach_is_an_error(planted):
    subject = make_subject(planted, 0.6)
    stuck = replace(subject.budget.cost, predict=lambda codes: np.full(
        len(codes), subject.budget.limit + (codes.sum(1) > 0)))
    with pytest.raises(InputError, match="one layer at a time"):
        NetAdapt(steps=2)(replace(subject, budget=replace(subject.budget, cost=stuck)))


def test_no_step_is_an_error():
    with pytest.raises(InputError, match="at least 1 step"):
        NetAdapt(steps=0)


def test_nothing_to_validate_on_is_an_error():
    supernet = supernet_of(make_model("cifar_resnet20"), searched=0)
    with pytest.raises(DataError, match="search split"):
        Judge(supernet)(supernet.space.extreme(largest=True))


def test_a_loss_that_is_not_finite_is_an_error():
    judge = Judge(supernet_of(make_model("cifar_resnet20")))
    with torch.no_grad():
        judge.supernet.model.conv1.weight[0] = torch.nan
    with pytest.raises(EvaluationError, match="is not finite"):
        judge(judge.supernet.space.extreme(largest=True))
