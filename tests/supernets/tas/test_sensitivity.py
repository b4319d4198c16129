"""What is measured as of no use goes first, and budgets are met."""

from dataclasses import dataclass

import pytest
import torch
from tas_subjects import make_cost, make_subject
from timm_models import make_model

from nas.core.arch import Arch
from nas.core.errors import DataError, EvaluationError
from supernets.calibrate import recalibrate
from supernets.tas.budget import Budget
from supernets.tas.methods.sensitivity import sensitivities, sensitivity
from supernets.tas.subject import Subject
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

PARTS = (0.25, 0.5, 1.0)


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
        inner=PARTS, width=PARTS, depth=0.01, multiple=1, nearest=False, kernels=False))
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


def test_what_does_nothing_is_not_missed(planted):
    found = sensitivities(planted)
    assert set(found) == {gene.name for gene in planted.space.genes}
    quarter, half, whole = found["stage1.block1.inner1"]
    assert quarter < -1e-4 < half < whole == 0.0
    assert found["stage2.depth"][0] < -1e-4 < found["stage2.depth"][1] < 0.0
    # Inner channels of a block that does nothing do nothing either.
    assert min(found["stage2.block2.inner1"]) > -1e-6
    for values in found.values():
        assert values == sorted(values)


def test_what_does_nothing_goes_first(planted):
    cost = make_cost(planted)
    whole = planted.space.extreme(largest=True)
    useless = planted.space.canonical(Arch(planted.space.id, tuple(
        {**whole.as_dict(), "stage1.block1.inner1": 8, "stage2.depth": 2}.items())))
    subject = Subject(supernet=planted, seed=0, budget=Budget(cost=cost, limit=cost.of(useless)))
    assert sensitivity(subject) == useless


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_budget_is_met(planted, share):
    subject = make_subject(planted, share)
    assert subject.budget.is_met(subject.budget.cost.of(sensitivity(subject)))


def test_nothing_to_validate_on_is_an_error():
    with pytest.raises(DataError, match="search split"):
        sensitivities(supernet_of(make_model("cifar_resnet20"), searched=0))


def test_a_loss_that_is_not_finite_is_an_error():
    model = make_model("cifar_resnet20")
    with torch.no_grad():
        model.fc.bias[0] = torch.nan
    with pytest.raises(EvaluationError, match="is not finite"):
        sensitivities(supernet_of(model))
