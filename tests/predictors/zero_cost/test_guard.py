import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from predictors.zero_cost.guard import preserved


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(),
                          nn.Linear(16, 2))
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[1].weight.requires_grad_(False)
    model[1].running_mean[0] = float("nan")
    model[2].eval()
    return model


def write_everything(model: nn.Sequential) -> None:
    model[0].weight.data = model[0].weight.data.double()
    model[0].bias = None
    model[1].running_var.add_(1)
    model[1].running_mean = torch.zeros(4)
    model[2].p = 0.1
    model[3] = nn.Identity()
    model[4].weight.grad = torch.ones_like(model[4].weight)
    model[4].weight.register_hook(lambda grad: grad)
    model[4].register_forward_hook(lambda *_: None)
    model[4].register_parameter("extra", nn.Parameter(torch.ones(1)))
    model.train()
    model.requires_grad_(True)
    1 / 0  # noqa: B018


def test_all_comes_back(model: nn.Sequential) -> None:
    before, objects = copy.deepcopy(model), [*model.parameters(), *model.buffers(),
                                             *model.modules(), model[0].weight.grad]
    hook = model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ZeroDivisionError), preserved(model, training=True):
        write_everything(model)
    after = [*model.parameters(), *model.buffers(), *model.modules(), model[0].weight.grad]
    assert [id(thing) for thing in after] == [id(thing) for thing in objects]
    assert list(model[0]._forward_hooks) == [hook.id]
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(new, old)
        assert new.dtype == old.dtype
        assert new.requires_grad == old.requires_grad
        assert new._backward_hooks is None
    for new, old in zip(model.buffers(), before.buffers(), strict=True):
        assert torch.equal(new.reshape(-1).view(torch.uint8), old.reshape(-1).view(torch.uint8))
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["0.weight"]
    assert model[2].p == 0.5
    assert not model[4]._forward_hooks


def test_weights_that_are_written_in_place_come_back_on_request(model: nn.Sequential) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with preserved(model, training=False, weights=True), torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert all(torch.equal(new, old)
               for new, old in zip(model.parameters(), before, strict=True))


def test_inside_gradients_are_clear_and_can_be_taken(model: nn.Sequential) -> None:
    with torch.no_grad(), preserved(model, training=False):
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model(torch.zeros(1, 3, 4, 4)).requires_grad
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("training", [True, False])
def test_only_norms_with_statistics_train(model: nn.Sequential, training: bool) -> None:
    with preserved(model, training=training):
        assert [m for m in model.modules() if m.training] == ([model[1]] if training else [])


def test_global_random_state_is_not_consumed(model: nn.Sequential) -> None:
    before = torch.get_rng_state()
    with preserved(model, training=True):
        torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_hooks_of_the_caller_survive_and_can_be_removed(model: nn.Sequential) -> None:
    seen: list[Tensor] = []
    handle = model[4].weight.register_hook(seen.append)
    with preserved(model, training=False):
        model[4].weight.register_hook(lambda grad: grad * 2)
    model.eval()
    model(torch.randn(1, 3, 4, 4)).sum().backward()
    assert len(seen) == 1
    torch.testing.assert_close(model[4].weight.grad, seen[0], equal_nan=True)
    handle.remove()
    model(torch.randn(1, 3, 4, 4)).sum().backward()
    assert len(seen) == 1


def test_buffers_that_share_memory_come_back(model: nn.Sequential) -> None:
    whole = torch.arange(6.0)
    model.register_buffer("left", whole[:4])
    model.register_buffer("right", whole[2:])
    model.register_buffer("wide", torch.ones(1).expand(5))
    with preserved(model, training=False):
        model.left.add_(1)
        model.right.add_(1)
    assert torch.equal(whole, torch.arange(6.0))


def test_one_value_per_channel_is_a_clear_error() -> None:
    model = nn.BatchNorm1d(3)
    with pytest.raises(InputError, match="one value per channel"), \
            preserved(model, training=True):
        model(torch.ones(1, 3))


def test_other_errors_pass_through(model: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="mine"), preserved(model, training=True):
        raise ValueError("mine")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: nn.Sequential(part)])
def test_torchscript_is_refused(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(InputError, match="TorchScript"), preserved(model, training=True):
        pass
