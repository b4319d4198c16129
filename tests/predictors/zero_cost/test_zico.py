import math

import numpy as np
import pytest
import torch
from proxy_models import LOSS, NETS, batch, conv_net, score
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.zico import ZiCo


def published(model: nn.Module, halves: list[tuple[Tensor, Tensor]]) -> float:
    """The authors' rule on accumulating `.grad`, zeroed between the batches."""
    model.train()
    gradients: dict[str, list[np.ndarray]] = {}
    for inputs, targets in halves:
        model.zero_grad()
        LOSS(model(inputs), targets).backward()
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear):
                gradients.setdefault(name, []).append(module.weight.grad.numpy().copy())
    total = 0.0
    for layer in gradients.values():
        both = np.array(layer)
        std = np.std(both, axis=0)
        ratios = np.abs(both).mean(axis=0)[std != 0] / std[std != 0]
        total += np.log(ratios.sum()) if ratios.sum() else 0.0
    return total


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
@pytest.mark.parametrize("samples", [8, 7])
def test_equals_the_published_rule_on_two_halves(name: str, samples: int) -> None:
    make, (inputs, targets) = NETS[name]
    inputs, targets = inputs.double()[:samples], targets[:samples]
    expected = published(make().double(), [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])])
    found = score(ZiCo(), make().double(), (inputs, targets))
    assert found == pytest.approx(expected, rel=1e-8)


def test_scale_of_the_loss_does_not_matter() -> None:
    found = score(ZiCo(), conv_net(), batch())
    scaled = ZiCo()(conv_net(), batch(), loss=lambda y, t: 4 * LOSS(y, t),
                    rng=np.random.default_rng(0))
    assert scaled == pytest.approx(found, rel=1e-6)


def test_frozen_weights_count() -> None:
    model = conv_net().requires_grad_(False)
    assert score(ZiCo(), model, batch()) == score(ZiCo(), conv_net(), batch())


def test_layer_that_the_loss_does_not_reach_is_left_out() -> None:
    model = conv_net()
    found = score(ZiCo(), model, batch())
    model[2].unused = nn.Linear(4, 4)
    assert score(ZiCo(), model, batch()) == found


def test_halves_with_the_same_samples_are_an_error() -> None:
    inputs, targets = batch(4)
    with pytest.raises(EvaluationError, match="no weight has gradients that differ"):
        score(ZiCo(), conv_net(), (torch.cat([inputs, inputs]), torch.cat([targets, targets])))


def test_layer_that_is_not_finite_is_named() -> None:
    model = conv_net()
    model[0].weight.data[0] = math.nan
    with pytest.raises(EvaluationError, match="zico: the output of 0 is not finite"):
        score(ZiCo(), model, batch())


def test_one_sample_is_an_error() -> None:
    with pytest.raises(InputError, match="zico needs a batch of at least 2"):
        score(ZiCo(), conv_net(), batch(1))


def test_labels_outside_the_classes_are_an_error() -> None:
    with pytest.raises(InputError, match="label 7 is outside"):
        score(ZiCo(), conv_net(), (batch()[0], torch.full((8,), 7)))


def test_targets_that_cannot_be_halved_are_an_error() -> None:
    with pytest.raises(InputError, match="zico halves the targets, one tensor, not tuple"):
        ZiCo()(conv_net(), (batch()[0], (1, 2)), loss=LOSS, rng=np.random.default_rng(0))
