"""The training of one plain network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.plain import PlainFit, check_apart
from supernets.training.recipe import Recipe

RECIPE = Recipe(epochs=3, learning_rate=0.1, warmup_epochs=0.5)


@pytest.fixture
def fit(tiny_task: ImageClassification) -> PlainFit:
    return PlainFit(task=tiny_task, images=tiny_task.splits["train_calib"], recipe=RECIPE,
                    batch_size=16)


@pytest.fixture
def module(tiny_supernet: MobileNetSupernet) -> nn.Module:
    return tiny_supernet.extract(tiny_supernet.space.extreme(largest=True))


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_epoch_changes_weights_and_gives_a_copy_of_its_own(
        fit: PlainFit, module: nn.Module) -> None:
    before = copied(module)
    training = fit(module, seed=1)
    first = training.advance()
    assert (training.done, first.training) == (1, False)
    assert not same(before, copied(first))
    kept = copied(first)
    second = training.advance()
    assert same(kept, copied(first))
    assert not same(kept, copied(second))


def test_it_learns(fit: PlainFit, module: nn.Module, tiny_task: ImageClassification) -> None:
    longer = replace(fit, recipe=replace(RECIPE, epochs=20), augmentation=None)(module, seed=1)
    for _ in range(20):
        network = longer.advance()
    assert tiny_task.metrics(network, tiny_task.batches("train_calib"))["error"] < 30


def test_statistics_of_the_copy_are_those_of_train_calib(
        fit: PlainFit, module: nn.Module, tiny_task: ImageClassification) -> None:
    network = fit(module, seed=1).advance()
    mean = torch.stack([network.get_submodule("conv_stem")(x).mean((0, 2, 3))
                        for x, _ in tiny_task.batches("train_calib")]).mean(0)
    torch.testing.assert_close(network.get_submodule("bn1").running_mean, mean)


@pytest.mark.parametrize("after", [1, 2])
def test_a_state_goes_on_bit_for_bit(fit: PlainFit, tiny_supernet: MobileNetSupernet,
                                     after: int) -> None:
    arch = tiny_supernet.space.extreme(largest=False)
    whole = fit(tiny_supernet.extract(arch), seed=5)
    networks = [whole.advance() for _ in range(3)]
    first = fit(tiny_supernet.extract(arch), seed=5)
    for _ in range(after):
        first.advance()
    again = fit(tiny_supernet.extract(arch), seed=5)
    again.load(first.state())
    assert again.done == after
    for expected in networks[after:]:
        assert same(copied(expected), copied(again.advance()))


def test_dropout_draws_the_same_and_leaves_the_global_generator_alone(fit: PlainFit) -> None:
    def trained() -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 5))
        return copied(fit(net, seed=2).advance())

    torch.manual_seed(77)
    first = trained()
    drawn = torch.rand(1)
    assert same(first, trained())
    torch.manual_seed(77)
    assert torch.equal(drawn, torch.rand(1))


def test_seeds_differ(fit: PlainFit, tiny_supernet: MobileNetSupernet) -> None:
    arch = tiny_supernet.space.extreme(largest=True)
    a, b = (copied(fit(tiny_supernet.extract(arch), seed=seed).advance()) for seed in (1, 2))
    assert not same(a, b)


@pytest.mark.parametrize("changes", [
    {"recipe": replace(RECIPE, epochs=4)}, {"recipe": replace(RECIPE, learning_rate=0.05)},
    {"batch_size": 8}, {"augmentation": None}])
def test_identity_tells_trainings_apart(fit: PlainFit, changes: dict[str, Any]) -> None:
    assert fit.identity() == replace(fit).identity()
    assert replace(fit, **changes).identity() != fit.identity()
    other = LabelledImages(fit.images.images, np.roll(fit.images.labels, 1))
    assert replace(fit, images=other).identity() != fit.identity()


# What goes wrong

def test_bad_input(fit: PlainFit) -> None:
    with pytest.raises(DataError, match="fewer than one batch of 65"):
        replace(fit, batch_size=65)
    with pytest.raises(DataError, match="this task takes"):
        replace(fit, images=LabelledImages(np.zeros((64, 8, 8), np.uint8),
                                           np.zeros(64, np.uint8)))
    with pytest.raises(DataError, match="label 9"):
        replace(fit, images=LabelledImages(fit.images.images, np.full(64, 9, np.uint8)))
    with pytest.raises(InputError, match="1 epoch or more"):
        replace(RECIPE, epochs=0)
    with pytest.raises(InputError, match="must be positive"):
        replace(RECIPE, learning_rate=float("nan"))


def test_a_loss_that_is_not_finite_ends_it(fit: PlainFit, module: nn.Module) -> None:
    with torch.no_grad():
        module.get_submodule("classifier").weight.fill_(float("inf"))  # type: ignore[operator]
    with pytest.raises(EvaluationError, match=r"loss is .* at step 0, batch 0 of 16 rows; lower"):
        fit(module, seed=0).advance()


@pytest.mark.parametrize("split", ["search", "test"])
def test_images_that_are_validated_on_are_refused(tiny_task: ImageClassification,
                                                  split: str) -> None:
    check_apart(tiny_task.splits["train_calib"], tiny_task)
    with pytest.raises(DataError, match=f"of the {split} split are among the training images"):
        check_apart(tiny_task.splits[split], tiny_task)
