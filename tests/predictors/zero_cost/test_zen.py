import math

import numpy as np
import pytest
import torch
from proxy_models import NETS, batch, conv_net, score, vit
from torch import nn

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.zen import Zen


def convolutions(*, norm: bool, depth: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Conv2d(32 if i else 3, 32, 3))
        if norm:
            layers.append(nn.BatchNorm2d(32))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))


def test_linear_features_have_a_closed_form() -> None:
    # f − f' = 0.01·W·ε with 27 products of N(0, 1) each: on average 0.01·√27·√(2/π).
    expected = math.log(0.01 * math.sqrt(27 * 2 / math.pi))
    found = score(Zen(repeats=16), convolutions(norm=False), batch(16))
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("depth", [1, 3])
def test_batchnorm_is_taken_back(depth: int) -> None:
    plain = score(Zen(repeats=16), convolutions(norm=False, depth=depth), batch(16))
    normed = score(Zen(repeats=16), convolutions(norm=True, depth=depth), batch(16))
    # BatchNorm scales channels one by one and is taken back for all of them together.
    assert normed == pytest.approx(plain, abs=0.05 * depth)


def test_vision_transformer_moves_by_the_features_of_its_head() -> None:
    assert math.isfinite(score(Zen(), vit(), batch()))


@pytest.mark.parametrize("name", ["conv", "conv1d", "vit"])
def test_only_the_generator_and_the_shape_matter(name: str) -> None:
    make, data = NETS[name]
    # A transformer's class token and position embedding are not drawn.
    other = make(seed=0 if name == "vit" else 1)
    for norm in other.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            nn.init.constant_(norm.weight, 7.0)
            nn.init.constant_(norm.bias, 3.0)
    images = (data[0] * 5 + 1, data[1].flip(0))
    found = score(Zen(), make(), data)
    assert score(Zen(), other, images) == found
    assert score(Zen(), make(), data, seed=1) != found


def test_repeats_are_averaged() -> None:
    rng = np.random.default_rng(3)
    scores = [score(Zen(repeats=1), conv_net(), batch(), seed=int(seed))
              for seed in rng.integers(1000, size=24)]
    average = score(Zen(repeats=24), conv_net(), batch())
    assert average == pytest.approx(np.mean(scores), abs=5 * np.std(scores) / math.sqrt(12))


def test_small_perturbations_move_linear_features_in_proportion() -> None:
    one, ten = (score(Zen(perturbation=p), convolutions(norm=False), batch()) for p in (0.01, 0.1))
    assert ten - one == pytest.approx(math.log(10), abs=1e-4)


def test_activations_that_overflow_are_an_error() -> None:
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(50)))
    with pytest.raises(EvaluationError, match=r"zen: the output of 4\d is not finite"):
        score(Zen(), model, batch(shape=(64,)))


class Muted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.0 * x


class Branches(nn.Module):
    def __init__(self, *, dead: bool) -> None:
        super().__init__()
        self.live = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.dead = nn.Sequential(Muted(), nn.BatchNorm2d(3)) if dead else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.live(x)
        return y if self.dead is None else y + self.dead(x).mean()


def test_norm_in_a_branch_without_signal_adds_nothing() -> None:
    alone = score(Zen(), Branches(dead=False), batch())
    assert score(Zen(), Branches(dead=True), batch()) == pytest.approx(alone, abs=1e-5)


def test_features_that_do_not_move_are_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Muted())
    with pytest.raises(EvaluationError, match="zen: the score of the features is not finite"):
        score(Zen(), model, batch())


@pytest.mark.parametrize(("options", "message"), [
    ({"repeats": 0}, "zen: 0 repeats"), ({"perturbation": 0.0}, "perturbation 0.0 is not above 0"),
    ({"perturbation": math.nan}, "perturbation nan is not above 0")])
def test_options_out_of_range_are_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Zen(**options)


def test_unusable_batches_are_errors() -> None:
    with pytest.raises(InputError, match="zen needs a batch of at least 2"):
        score(Zen(), conv_net(), batch(1))
    with pytest.raises(InputError, match="zen needs real-valued inputs"):
        score(Zen(), conv_net(), (torch.zeros(8, 3, 8, 8).long(), torch.zeros(8)))
    with pytest.raises(InputError, match="no Conv or Linear layer"):
        score(Zen(), nn.ReLU(), batch())
    with pytest.raises(InputError, match="one value per channel"):
        score(Zen(), nn.Sequential(nn.Linear(4, 4), Row(), nn.BatchNorm1d(4)), batch(shape=(4,)))


class Row(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:1]
