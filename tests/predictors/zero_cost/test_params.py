import pytest
import torch
from proxy_models import NETS, batch, conv_net, score
from torch import nn

from nas.evaluation.efficiency import count_params
from predictors.zero_cost.params import Params


def test_counts_every_weight_and_bias() -> None:
    expected = 8 * 3 * 9 + 2 * 8 + (8 * 4 * 9 + 8) + 2 * 8 + (8 * 5 + 5)
    assert score(Params(), conv_net(), batch()) == expected


def test_tied_weights_count_once_and_frozen_ones_too() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    assert score(Params(), model, (torch.zeros(1, 4), torch.zeros(1))) == 16 + 4 + 4


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_agrees_with_the_counter_of_the_search(name: str) -> None:
    make, data = NETS[name]
    assert score(Params(), make(), data) == count_params(make())
