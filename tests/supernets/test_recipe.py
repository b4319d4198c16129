"""Learning rates, optimizers, averages: how weights are updated."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_mlp import TinyMlp, mlp_task
from torch import nn

from nas.core.errors import InputError
from supernets.training.averaging import AveragedWeights
from supernets.training.optimizers import set_learning_rate
from supernets.training.recipe import Recipe

RECIPE = Recipe(epochs=4, learning_rate=0.2, warmup_epochs=1.0)


def rates(recipe: Recipe, *, steps_per_epoch: int = 10) -> list[float]:
    return [recipe.learning_rate_at(step, steps_per_epoch=steps_per_epoch)
            for step in range(recipe.epochs * steps_per_epoch)]


# Learning rates

def test_cosine_rises_in_a_line_and_falls_to_nothing() -> None:
    found = rates(RECIPE)
    np.testing.assert_allclose(found[:10], np.arange(1, 11) * 0.02)
    by_hand = 0.1 * (1 + np.cos(np.pi * np.arange(30) / 30))
    np.testing.assert_allclose(found[10:], by_hand)


@pytest.mark.parametrize("warmup_epochs", [1.2, 0.5, 3.3])
def test_one_cycle_is_torchs(warmup_epochs: float) -> None:
    recipe = replace(RECIPE, schedule="one-cycle", warmup_epochs=warmup_epochs)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=40, pct_start=warmup_epochs / 4, cycle_momentum=False)
    expected = []
    for _ in range(40):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates(recipe), expected, rtol=1e-9)


@pytest.mark.parametrize("warmup_epochs", [0.0, 4.0, 9.0])
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_no_warm_up_or_nothing_else(schedule: str, warmup_epochs: float) -> None:
    found = rates(replace(RECIPE, schedule=schedule, warmup_epochs=warmup_epochs))
    assert all(0 <= rate <= 0.2 for rate in found)
    changes = np.diff(found)
    assert (changes < 0).all() if warmup_epochs == 0 else (changes > 0).all()


def test_a_warm_up_of_less_than_a_step_does_not_pass_the_peak() -> None:
    assert max(rates(replace(RECIPE, warmup_epochs=0.5), steps_per_epoch=1)) == 0.2


# Optimizers

def groups_by_name(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD),
                                            ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_optimizer_and_weight_decay(name: str, kind: type, layer_decay: float | None) -> None:
    net = TinyMlp(mlp_task())
    optimizer = replace(RECIPE, optimizer=name, weight_decay=0.3,
                        layer_decay=layer_decay).make_optimizer(net)
    assert type(optimizer) is kind
    found = groups_by_name(net, optimizer)
    assert found.keys() == dict(net.named_parameters()).keys()
    decayed = {name for name, group in found.items() if group["weight_decay"] == 0.3}
    assert decayed == {name for name in found if name.endswith("weight")
                       and "norm" not in name and name != "stem.weight"}  # it exempts its stem
    assert {group["weight_decay"] for group in found.values()} == {0.0, 0.3}


def test_layer_decay_falls_from_the_head_to_the_stem() -> None:
    net = TinyMlp(mlp_task())
    optimizer = replace(RECIPE, layer_decay=0.5).make_optimizer(net)
    set_learning_rate(optimizer, 0.8)
    found = {name: group["lr"] for name, group in groups_by_name(net, optimizer).items()}
    for name, rate in found.items():
        layer = ("stem", "blocks.0", "blocks.1", "head").index(
            name[:8] if name.startswith("blocks") else name[:4])
        assert rate == pytest.approx(0.8 * 0.5 ** (3 - layer))


def test_layer_decay_needs_layers() -> None:
    with pytest.raises(InputError, match="a Linear does not say which layers follow which"):
        replace(RECIPE, layer_decay=0.5).make_optimizer(nn.Linear(2, 2))


def test_momentum_may_be_none() -> None:
    optimizer = replace(RECIPE, momentum=0.0).make_optimizer(nn.Linear(2, 2))
    assert not optimizer.param_groups[0]["nesterov"]


# Averages

def test_the_average_is_the_weighted_mean_of_the_steps() -> None:
    module = nn.Linear(3, 2)
    average = AveragedWeights(module, 0.5)
    expected = module.weight.detach().clone()
    for step in range(8):
        with torch.no_grad():
            module.weight.add_(1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    torch.testing.assert_close(average.state()["weight"], expected)


def test_an_average_is_lent_and_taken_back() -> None:
    module = nn.Linear(3, 2)
    average = AveragedWeights(module, 0.9)
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.zero_()
    parameter = module.weight
    with average.applied():
        assert torch.equal(module.weight, before)
        assert module.weight is parameter
    assert not module.weight.any()
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert not module.weight.any()
    other = AveragedWeights(module, 0.9)
    other.load({name: tensor.clone() for name, tensor in average.state().items()})
    assert torch.equal(other.state()["weight"], before)


# What goes wrong

@pytest.mark.parametrize(("changes", "match"), [
    ({"schedule": "step"}, "schedule 'step' is none of cosine, one-cycle"),
    ({"optimizer": "lion"}, "optimizer 'lion' is none of sgd, adamw"),
    ({"precision": "int8"}, "precision 'int8' is none of no, bf16, fp16"),
    ({"accumulation": 0}, "1 batch or more, not 0"),
    ({"clip_norm": 0.0}, r"largest norm of gradients 0\.0 must be positive"),
    ({"ema_decay": 1.0}, r"EMA decay 1\.0 must be between 0 and 1"),
    ({"layer_decay": float("nan")}, "layer decay nan must be between"),
])
def test_bad_settings(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(RECIPE, **changes)
