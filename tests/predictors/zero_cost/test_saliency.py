import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nas.core.errors import EvaluationError, InputError
from predictors.zero_cost.fisher import Fisher
from predictors.zero_cost.grad_norm import GradNorm
from predictors.zero_cost.grasp import Grasp
from predictors.zero_cost.plain import Plain
from predictors.zero_cost.snip import Snip
from predictors.zero_cost.synflow import SynFlow

CLASSES = 5


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, groups=2)
        self.classifier = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.classifier(self.body(x).relu_().mean((2, 3)))


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(6, 3, 6, 6, dtype=torch.float64, generator=generator),
            torch.arange(6) % CLASSES)


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters()
            if name.endswith("weight") and parameter.dim() > 1}


def loss_at(model: nn.Module, batch: tuple[Tensor, Tensor], **changed: Tensor) -> Tensor:
    model.train()
    outputs = torch.func.functional_call(model, {
        name.replace("__", "."): value for name, value in changed.items()}, (batch[0],))
    return F.cross_entropy(outputs, batch[1])


def gradient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    found = weights(model)
    return dict(zip(found, torch.autograd.grad(loss_at(model, batch), list(found.values())),
                    strict=True))


def call(proxy: Any, model: nn.Module, batch: tuple[Any, Any],
         loss: Callable[..., Tensor] = F.cross_entropy) -> float:
    return float(proxy(model, batch, loss=loss, rng=np.random.default_rng(0)))


def scores(proxy: Any, model: nn.Module, batch: tuple[Any, Any]) -> dict[str, Tensor]:
    return dict(proxy.scores(model, batch, loss=F.cross_entropy, rng=np.random.default_rng(0)))


def test_grad_norm(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    expected = sum(float(grad.norm()) for grad in gradient(model, batch).values())
    assert call(GradNorm(), model, batch) == pytest.approx(expected, rel=1e-12)


def test_snip_and_plain(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    grads = gradient(model, batch)
    snip, plain = scores(Snip(), model, batch), scores(Plain(), model, batch)
    assert list(snip) == list(plain) == ["stem.weight", "body.weight", "classifier.weight"]
    for name, weight in weights(model).items():
        torch.testing.assert_close(plain[name], weight.detach() * grads[name])
        torch.testing.assert_close(snip[name], plain[name].abs())


def test_snip_is_the_derivative_by_a_mask(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    mask = torch.ones_like(model.body.weight, requires_grad=True)
    value = loss_at(model, batch, body__weight=model.body.weight.detach() * mask)
    expected, = torch.autograd.grad(value, [mask])
    torch.testing.assert_close(scores(Snip(), model, batch)["body.weight"], expected.abs())


def test_grasp_is_a_directional_derivative(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    # Hg is how the gradient changes along g.
    grads, step = gradient(model, batch), 1e-5
    held = {name: weight.detach().clone() for name, weight in weights(model).items()}

    def moved(sign: int) -> dict[str, Tensor]:
        with torch.no_grad():
            for name, weight in weights(model).items():
                weight.copy_(held[name] + sign * step * grads[name])
        return gradient(model, batch)

    ahead, behind = moved(1), moved(-1)
    with torch.no_grad():
        for name, weight in weights(model).items():
            weight.copy_(held[name])
    found = scores(Grasp(), model, batch)
    for name, weight in held.items():
        expected = -weight * (ahead[name] - behind[name]) / (2 * step)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-8)


def test_grasp_of_a_linear_loss_is_zero() -> None:
    batch = (torch.randn(3, 4), torch.zeros(3))
    assert call(Grasp(), nn.Linear(4, 2), batch, lambda outputs, _: outputs.mean()) == 0.0


def test_fisher(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    # The channel's output times a gate of one: its derivative by the gate is Σ a·∂L/∂a.
    gate = torch.ones(6, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        hook = model.body.register_forward_hook(lambda _m, _i, output: output * gate)
    derivative, = torch.autograd.grad(loss_at(model, batch), [gate])
    hook.remove()
    per_channel = 0.5 * derivative[:, :, 0, 0].square().mean(0)
    found = scores(Fisher(), model, batch)["body.weight"]
    torch.testing.assert_close(found, per_channel[:, None, None, None].expand(4, 2, 3, 3))


def test_fisher_adds_calls_and_zeroes_unused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(x.flatten(1)) + self.shared(x.flatten(1) * 2)

    torch.manual_seed(0)
    model, batch = Twice(), (torch.randn(6, 4), torch.arange(6) % 4)
    found = scores(Fisher(), model, batch)
    outputs = model(batch[0]).detach().requires_grad_()
    grad, = torch.autograd.grad(F.cross_entropy(outputs, batch[1]), [outputs])
    expected = sum((model.shared(batch[0] * factor).detach() * grad).square().mean(0) / 2
                   for factor in (1, 2))
    torch.testing.assert_close(found["shared.weight"], expected[:, None].expand(4, 4))
    assert not found["unused.weight"].any()


def test_fisher_on_sequences_sums_over_time() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten(2), nn.Conv1d(4, 2, 1))
    as_linear = nn.Sequential(nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2))
    as_linear.load_state_dict({name: value.squeeze(-1) if value.dim() == 3 else value
                               for name, value in model.state_dict().items()})
    x = torch.randn(6, 3, 5)

    def total(module: nn.Module, inputs: Tensor) -> float:
        return call(Fisher(), module, (inputs, torch.zeros(6)),
                    lambda outputs, _: outputs.square().mean())

    assert total(model, x) == pytest.approx(total(as_linear, x.transpose(1, 2)))


def test_fisher_names_a_weight_that_it_cannot_see() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0].mean(1)

    batch = (torch.randn(6, 3, 4), torch.arange(6) % 4)
    with pytest.raises(InputError, match=r"attention\.out_proj\.weight is used without a call"):
        call(Fisher(), Attention(), batch)
    with pytest.raises(InputError, match="remove its parametrisation"):
        call(Fisher(), weight_norm(nn.Linear(4, 4)), (torch.randn(6, 4), batch[1]))


def test_synflow_is_path_weight(batch: tuple[Tensor, Tensor]) -> None:
    # Without BatchNorm, biases and pads every layer carries all of the flow: Σ θ ∂R/∂θ = R.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                          nn.Conv2d(4, 2, 4, bias=False), nn.Flatten(),
                          nn.Linear(2, CLASSES, bias=False))
    with torch.no_grad():
        flow = torch.ones(1, 3, 6, 6)
        for weight in weights(model).values():
            flow = F.conv2d(flow, weight.abs()) if weight.dim() == 4 \
                else F.linear(flow.flatten(1), weight.abs())
    found = scores(SynFlow(), model, batch)
    for name in ("0.weight", "3.weight", "5.weight"):
        assert found[name].dtype == torch.float64
        assert found[name].sum() == pytest.approx(float(flow.sum()), rel=1e-5)
    assert call(SynFlow(), model, batch) == pytest.approx(math.log(3 * float(flow.sum())), rel=1e-5)


def test_synflow_reads_shapes_only(model: Net, batch: tuple[Tensor, Tensor]) -> None:
    expected = call(SynFlow(), model, batch)
    model.norm.running_var.mul_(7)
    assert call(SynFlow(), model, (batch[0][:1] * torch.nan, None)) == expected
    with torch.no_grad():
        model.body.weight.neg_()
    assert call(SynFlow(), model, batch) == expected


def test_synflow_without_a_path_is_an_error(batch: tuple[Tensor, Tensor]) -> None:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 0

    with pytest.raises(EvaluationError, match="nothing flows"):
        call(SynFlow(), Cut(), batch)
    with pytest.raises(InputError, match="real numbers"):
        call(SynFlow(), Net(), (torch.zeros(2, 3, 6, 6, dtype=torch.int64), None))


SALIENCY = {proxy.__name__: proxy for proxy in (Snip, Plain, Grasp, Fisher)}


@pytest.mark.parametrize("name", SALIENCY)
def test_score_is_the_sum_of_scores(name: str, model: Net, batch: tuple[Tensor, Tensor]) -> None:
    total = sum(float(value.sum()) for value in scores(SALIENCY[name](), model, batch).values())
    assert call(SALIENCY[name](), model, batch) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", SALIENCY)
def test_frozen_weights_are_scored_too(name: str, model: Net, batch: tuple[Tensor, Tensor]) -> None:
    expected = call(SALIENCY[name](), model, batch)
    model.requires_grad_(False)
    with torch.no_grad():
        assert call(SALIENCY[name](), model, batch) == expected


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
