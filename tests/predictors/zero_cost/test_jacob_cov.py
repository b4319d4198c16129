import math

import numpy as np
import pytest
import torch
from proxy_models import NETS, batch, conv_net, score
from torch import nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.jacob_cov import JacobCov

K = 1e-5


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_equals_the_formula_on_a_jacobian_taken_otherwise(name: str) -> None:
    make, (inputs, targets) = NETS[name]
    model, inputs = make().double(), inputs.double()
    found = score(JacobCov(), model, (inputs, targets))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: make().double().train()(x).sum(), inputs)
    values = np.linalg.eigvals(np.corrcoef(jacobian.flatten(1))).real
    assert found == pytest.approx(-np.sum(np.log(values + K) + 1 / (values + K)), rel=1e-6)


def test_linear_network_has_a_closed_form() -> None:
    # Every row is the same, so the correlations are all 1: eigenvalues B and B − 1 times 0.
    samples = 6
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    expected = -(math.log(samples + K) + 1 / (samples + K)) \
        - (samples - 1) * (math.log(K) + 1 / K)
    assert score(JacobCov(), model, batch(samples)) == pytest.approx(expected, rel=1e-6)


def test_neither_labels_nor_their_order_matter() -> None:
    inputs, targets = batch()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    found = score(JacobCov(), conv_net(), (inputs, targets))
    assert score(JacobCov(), conv_net(), (inputs, targets.flip(0))) == found
    assert score(JacobCov(), conv_net(), (inputs[order], targets)) == pytest.approx(found, rel=1e-3)


def test_constant_jacobian_is_an_error() -> None:
    model = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 5, 1))
    nn.init.ones_(model[1].weight)
    with pytest.raises(EvaluationError, match="sample 0 is the same for every input number"):
        score(JacobCov(), model, batch())


class Deaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.ones(len(x), 4))


def test_outputs_without_a_path_to_the_inputs_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="outputs do not depend on the inputs"):
        score(JacobCov(), Deaf(), batch())


def test_layer_that_is_not_finite_is_named() -> None:
    model = conv_net()
    model[3].weight.data[0] = math.nan
    with pytest.raises(EvaluationError, match="jacob_cov: the output of 3 is not finite"):
        score(JacobCov(), model, batch())


def test_inputs_that_are_not_finite_are_named() -> None:
    inputs, targets = batch()
    inputs[0, 0, 0, 0] = math.inf
    with pytest.raises(EvaluationError, match="the output of the inputs is not finite"):
        score(JacobCov(), conv_net(), (inputs, targets))


def test_gradients_that_are_not_finite_are_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Root(), nn.Linear(4, 5))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    with pytest.raises(EvaluationError, match="finite but their gradients"):
        score(JacobCov(), model, batch(shape=(4,)))


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs().sqrt()  # no derivative at 0


@pytest.mark.parametrize(("inputs", "message"), [
    (torch.randn(1, 3, 8, 8), "at least 2 samples, not 1"),
    (torch.zeros(8, 3, 8, 8, dtype=torch.long), "real-valued inputs, not torch.int64"),
    ([torch.randn(3, 8, 8)] * 8, "one tensor, not list")])
def test_unusable_inputs_are_errors(inputs: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        JacobCov()(conv_net(), (inputs, torch.zeros(1 if len(inputs) == 1 else 8).long()),
                   loss=nn.CrossEntropyLoss(), rng=np.random.default_rng(0))
