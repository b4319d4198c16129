import numpy as np
import pytest
import torch
from proxy_models import batch, conv_net, vit
from torch import Tensor, nn
from torch.nn import functional as F

from nas.core.errors import InputError
from predictors.zero_cost import activation_patterns
from predictors.zero_cost.activation_patterns import agreement

X = torch.tensor([[1.0, 2, -3], [-1, 2, -3], [1, -2, 3], [4, 5, -6]])
COUNTS = [[3, 2, 1, 3], [2, 3, 0, 2], [1, 0, 3, 1], [3, 2, 1, 3]]  # agreeing signs, counted by hand


class Call(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("activation", [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.GELU(), nn.SiLU(), nn.SiLU(inplace=True),
    nn.Hardswish(), nn.Hardswish(inplace=True), nn.LeakyReLU(), nn.ELU(), nn.PReLU(), nn.Mish(),
    nn.SELU(), nn.CELU(), Call(F.relu), Call(torch.relu), Call(torch.relu_), Call(Tensor.relu_),
    Call(F.relu6), Call(lambda x: F.relu(input=x)), Call(lambda x: F.hardtanh(x, 0, 4))],
    ids=str)
def test_activation_is_counted_once_by_the_sign_of_its_input(activation: nn.Module) -> None:
    found = agreement(activation, X, proxy="test")
    assert found.counts_BB.tolist() == COUNTS
    assert found.activations == 3
    assert found.distinct == 3


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid(), nn.Tanh(), nn.Hardtanh(-1, 1),
                                  nn.Softmax(dim=1), nn.Identity()], ids=str)
def test_gates_are_no_activations(gate: nn.Module) -> None:
    with pytest.raises(InputError, match="none runs in"):
        agreement(gate, X, proxy="test")


def test_layers_and_repeated_calls_add_up() -> None:
    relu = nn.ReLU()
    found = agreement(nn.Sequential(relu, relu), X, proxy="test")
    # After the first ReLU the same activations are positive.
    assert found.counts_BB.tolist() == (2 * np.array(COUNTS)).tolist()
    assert found.activations == 6


def test_all_activations_of_a_convolutional_network_count() -> None:
    found = agreement(conv_net().eval(), batch()[0], proxy="test")
    assert found.activations == 8 * 8 * 8 + 8 * 3 * 3
    assert (found.counts_BB.diagonal() == found.activations).all()
    assert found.counts_BB.equal(found.counts_BB.T)


def test_transformer_layers_of_torch_and_timm_are_seen() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True).eval()
    assert agreement(layer, torch.randn(2, 3, 4), proxy="test").activations == 3 * 8
    assert agreement(vit().eval(), batch()[0], proxy="test").activations == 2 * 5 * 64


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = agreement(conv_net().eval(), batch()[0], proxy="test")
    monkeypatch.setattr(activation_patterns, "_CHUNK", 7)
    assert agreement(conv_net().eval(), batch()[0], proxy="test").counts_BB.equal(whole.counts_BB)


def test_batch_that_is_not_in_front_is_an_error() -> None:
    model = Call(lambda x: F.relu(x.T).T)
    with pytest.raises(InputError, match=r"relu on the shape \(3, 4\) does not have the 4 samples"):
        agreement(model, X, proxy="test")
