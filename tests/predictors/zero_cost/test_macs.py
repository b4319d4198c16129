import pytest
import torch
from proxy_models import NETS, batch, conv_net, score, vit
from torch import nn

from nas.core.errors import InputError
from nas.evaluation.efficiency import count_macs
from predictors.zero_cost.macs import Macs


def test_counts_strides_and_groups() -> None:
    expected = 8 * 64 * (3 * 9) + 8 * 9 * (4 * 9) + 5 * 8
    assert score(Macs(), conv_net(), batch()) == expected


def test_counts_one_sample_whatever_the_batch() -> None:
    assert score(Macs(), conv_net(), batch(1)) == score(Macs(), conv_net(), batch(5))


def test_counts_linear_layers_on_sequences() -> None:
    per_token = 16 * 48 + 16 * 16 + 2 * 16 * 64  # query, key, value; projection; MLP
    patches = 4
    expected = patches * 16 * (3 * 16) + 2 * (patches + 1) * per_token + 16 * 5
    assert score(Macs(), vit(), batch()) == expected


def test_a_layer_that_runs_twice_counts_twice_and_one_that_does_not_counts_nothing() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, layer)
    data = (torch.zeros(1, 4), torch.zeros(1))
    assert score(Macs(), model, data) == 32
    model.register_module("unused", nn.Identity())
    model.unused.inner = nn.Linear(9, 9)
    assert score(Macs(), model, data) == 32


@pytest.mark.parametrize("name", ["conv", "conv1d"])
def test_agrees_with_the_counter_of_the_search(name: str) -> None:
    make, data = NETS[name]
    assert score(Macs(), make(), data) == count_macs(make(), data[0])


def test_network_without_such_layers_is_an_error() -> None:
    with pytest.raises(InputError, match="no Conv or Linear layer in ReLU"):
        score(Macs(), nn.ReLU(), batch())
