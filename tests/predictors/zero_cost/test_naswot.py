import math

import numpy as np
import pytest
import torch
from proxy_models import NETS, batch, conv_net, score
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.naswot import NasWot


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_equals_the_formula_on_hooked_activations(name: str) -> None:
    make, data = NETS[name]
    model = make().train()
    kernel = np.zeros((8, 8))

    def add(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        c = (args[0] > 0).flatten(1).double().numpy()
        kernel[:] += c @ c.T + (1 - c) @ (1 - c).T

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.GELU):
            module.register_forward_pre_hook(add)
    model(data[0])
    sign, expected = np.linalg.slogdet(kernel)
    assert sign == 1
    assert score(NasWot(), make(), data) == pytest.approx(expected, rel=1e-10)


def test_closed_form() -> None:
    # Two samples that agree in 1 of 4 activations: K = [[4, 1], [1, 4]].
    x = torch.tensor([[1.0, 1, 1, 1], [1, -1, -1, -1]])
    assert score(NasWot(), nn.ReLU(), (x, torch.zeros(2))) == pytest.approx(math.log(15))


def test_neither_labels_nor_scale_of_the_weights_matter() -> None:
    inputs, targets = batch()
    found = score(NasWot(), conv_net(), (inputs, targets))
    scaled = conv_net()
    scaled[-1].weight.data *= 8
    assert score(NasWot(), scaled, (inputs, targets.flip(0))) == found


def test_repeated_samples_are_an_error() -> None:
    inputs, targets = batch()
    inputs[3] = inputs[5]
    with pytest.raises(EvaluationError, match=r"8 samples have only 7 different activation "
                                              r"patterns.*give distinct inputs, or fewer"):
        score(NasWot(), conv_net(), (inputs, targets))


def test_dependent_patterns_are_an_error() -> None:
    # Four different patterns of two activations: K has rank 3.
    x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    with pytest.raises(EvaluationError, match="patterns of 2 activations are linearly dependent "
                                              "over 4 samples"):
        score(NasWot(), nn.ReLU(), (x, torch.zeros(4)))


def test_layer_that_is_not_finite_is_named() -> None:
    model = conv_net()
    model[3].bias.data[0] = math.nan
    with pytest.raises(EvaluationError, match="naswot: the output of 3 is not finite"):
        score(NasWot(), model, batch())


def test_one_sample_is_an_error() -> None:
    with pytest.raises(InputError, match="naswot needs a batch of at least 2"):
        score(NasWot(), conv_net(), batch(1))


def test_tokens_are_inputs_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 16), nn.ReLU(), nn.Flatten(),
                              nn.Linear(48, 5))
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 0]])
    assert math.isfinite(score(NasWot(), model, (tokens, torch.zeros(3).long())))
