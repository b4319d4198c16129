import math

import numpy as np
import pytest
import torch
from proxy_models import NETS, batch, conv_net, score, unchanged
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost import te_nas
from predictors.zero_cost.te_nas import TeNas, linear_regions, ntk_condition


def naive_condition(model: nn.Module, inputs: Tensor) -> float:
    """One backward pass a sample over `.grad`, as in the paper."""
    model.train()
    outputs = model(inputs)
    rows = []
    for output in outputs:
        model.zero_grad(set_to_none=False)
        output.sum().backward(retain_graph=True)
        rows.append(torch.cat([parameter.grad.flatten().clone() for name, parameter
                               in model.named_parameters() if "weight" in name]))
    values = np.linalg.eigvalsh(torch.stack(rows).double().numpy() @ torch.stack(rows).double()
                                .numpy().T)
    return float(values[-1] / values[0])


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_condition_equals_one_backward_pass_a_sample(name: str) -> None:
    make, (inputs, _) = NETS[name]
    inputs = inputs[:5].double()
    assert ntk_condition(make().double(), inputs) == pytest.approx(
        naive_condition(make().double(), inputs), rel=1e-6)


def test_groups_of_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = batch()[0].double()
    whole = ntk_condition(conv_net().double(), inputs)
    monkeypatch.setattr(te_nas, "_GROUP", 100)
    monkeypatch.setattr(te_nas, "_CHUNK", 7)
    assert ntk_condition(conv_net().double(), inputs) == pytest.approx(whole, rel=1e-9)


def test_condition_of_a_linear_network_has_a_closed_form() -> None:
    # The gradient of w·x is x; orthogonal inputs of lengths 2, 3 and 6 give Θ = diag(4, 9, 36).
    inputs = torch.diag(torch.tensor([2.0, 3.0, 6.0]))
    assert ntk_condition(nn.Linear(3, 1), inputs) == pytest.approx(9.0)


def test_biases_are_left_out_of_the_kernel() -> None:
    inputs = torch.diag(torch.tensor([2.0, 3.0, 6.0]))
    assert ntk_condition(nn.Linear(3, 1, bias=False), inputs) == ntk_condition(nn.Linear(3, 1),
                                                                              inputs)


def test_regions_are_different_patterns() -> None:
    inputs = torch.tensor([[1.0, 2], [3, 4], [-1, 2], [-3, 1], [-1, -1]])
    assert linear_regions(nn.Sequential(nn.ReLU()), inputs) == 3
    with unchanged(conv_net(), batch()):
        assert linear_regions(conv_net(), batch()[0]) == 8


def test_score_is_the_regions_less_the_condition() -> None:
    inputs, targets = batch()
    expected = linear_regions(conv_net(), inputs) - ntk_condition(conv_net(), inputs[:4])
    assert score(TeNas(ntk_samples=4), conv_net(), (inputs, targets)) == expected


def test_frozen_weights_count() -> None:
    model = conv_net().requires_grad_(False)
    assert score(TeNas(), model, batch()) == score(TeNas(), conv_net(), batch())


def test_repeated_samples_are_an_error() -> None:
    inputs, targets = batch()
    inputs[1] = inputs[0]
    with pytest.raises(EvaluationError, match=r"kernel of 8 samples is singular.*distinct samples"):
        score(TeNas(), conv_net(), (inputs, targets))


def test_layer_that_is_not_finite_is_named() -> None:
    model = conv_net()
    model[8].weight.data[0] = math.nan
    with pytest.raises(EvaluationError, match="te_nas: the output of 8 is not finite"):
        score(TeNas(), model, batch())


def test_gradient_that_is_not_finite_has_the_name_of_its_weight() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.abs().sqrt()  # no derivative at 0

    model = nn.Sequential(nn.Linear(4, 4, bias=False), Root(), nn.Linear(4, 5))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(EvaluationError, match=r"te_nas: a gradient of 0\.weight is not finite"):
        ntk_condition(model, torch.randn(3, 4))


def test_outputs_that_depend_on_no_weight_are_an_error() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).detach()

    with pytest.raises(InputError, match="outputs depend on no weight"):
        ntk_condition(Deaf(), torch.randn(3, 4))
    with pytest.raises(InputError, match="ReLU has no parameter called weight"):
        ntk_condition(nn.ReLU(), torch.randn(3, 4))


def test_one_sample_is_an_error() -> None:
    with pytest.raises(InputError, match="te_nas needs a batch of at least 2"):
        score(TeNas(), conv_net(), batch(1))
    with pytest.raises(InputError, match="kernel of 1 sample has no condition number"):
        ntk_condition(conv_net(), batch(1)[0])
    with pytest.raises(InputError, match="kernel of 1 samples has no condition number"):
        TeNas(ntk_samples=1)
