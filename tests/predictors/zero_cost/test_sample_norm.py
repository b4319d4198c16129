import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from predictors.zero_cost.sample_norm import is_channels_last, sample_norm

EPS = 1e-5


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same numbers in another order in memory."""
    if layout == "channels last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "sides swapped":
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "a slice":
        return torch.cat([x, x], 1)[:, :x.shape[1]]
    return x


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layout", ["", "channels last", "sides swapped", "a slice"])
@pytest.mark.parametrize("sides", [(6,), (4, 5), (2, 3, 2)])
def test_equals_batch_norm_of_single_samples(sides: tuple[int, ...], layout: str, affine: bool
                                             ) -> None:
    if layout == "sides swapped" and len(sides) == 1:
        layout = "channels last"
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, *sides, generator=generator, dtype=torch.float64) * 3 + 5
    grad = torch.randn(3, 4, *sides, generator=generator, dtype=torch.float64)
    weight, bias = (torch.randn(4, generator=generator, dtype=torch.float64) if affine else None
                    for _ in range(2))
    x = laid_out(values, layout).requires_grad_()
    y = sample_norm(x, weight, bias, EPS)
    found, = torch.autograd.grad(y, [x], grad)
    for i in range(3):
        single = values[i:i + 1].clone().requires_grad_()
        expected = F.batch_norm(single, None, None, weight, bias, training=True, eps=EPS)
        torch.testing.assert_close(y[i:i + 1], expected)
        torch.testing.assert_close(found[i:i + 1],
                                   torch.autograd.grad(expected, [single], grad[i:i + 1])[0])


def test_layout_is_kept_and_what_follows_may_work_in_place() -> None:
    x = laid_out(torch.randn(2, 4, 5, 5), "channels last").requires_grad_()
    assert is_channels_last(x)
    y = sample_norm(x, None, None, EPS)
    assert is_channels_last(y)
    expected, = torch.autograd.grad(F.relu(y).square().sum(), [x])
    found, = torch.autograd.grad(F.relu_(sample_norm(x, None, None, EPS)).square().sum(), [x])
    assert torch.equal(found, expected)


def test_a_gradient_without_memory_of_its_own() -> None:
    x = laid_out(torch.randn(2, 4, 5, 5), "channels last").requires_grad_()
    scale = torch.randn(4)
    (sample_norm(x, scale, None, EPS).mean((2, 3)) ** 2).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
