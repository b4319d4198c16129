"""Mapped batch norms have the gradients of what they stand for, step by step."""

import pytest
import torch
from torch.nn import functional as F

from supernets.tas.interpolation import interpolated
from supernets.tas.mapped import channel_maps, mapped_norm, mapped_sum, scaled

WIDTHS = ((3, 5), (7, 2))


def tensors(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
            for shape in shapes]


def plain(x, affine, weights, widths):
    total = 0.0
    for (scale, shift), weight, width in zip(affine, weights, widths, strict=True):
        normed = F.batch_norm(x[:, :width], None, None, scale[:width], shift[:width],
                              training=True, eps=1e-3)
        total = total + weight * interpolated(normed, max(widths))
    return F.pad(total, (0, 0, 0, 0, 0, x.shape[1] - max(widths)))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_steps(order):
    x, affine, weights = tensors((4, 7, 3, 2), (2, 2, 2, 7), (2, 2))
    with torch.no_grad():
        x += 3.0  # means that are far from 0
    given = x.detach().contiguous(memory_format=order).requires_grad_()
    maps, shifts = channel_maps(affine, weights, WIDTHS)
    for layer, widths in enumerate(WIDTHS):
        found = mapped_norm(given, maps[layer], shifts[layer], 1e-3)
        expected = plain(x, affine[layer], weights[layer], widths)
        assert torch.allclose(found, expected, atol=1e-6)
        towards = torch.arange(found.numel(), dtype=found.dtype).view_as(found).cos()
        ours = torch.autograd.grad((found * towards).sum(), (given, affine, weights),
                                   retain_graph=True)
        theirs = torch.autograd.grad((expected * towards).sum(), (x, affine, weights))
        for ours_one, theirs_one in zip(ours, theirs, strict=True):
            assert torch.allclose(ours_one, theirs_one, atol=1e-6)
        assert bool(ours[0].abs().max() > 1e-3)


def test_images_need_no_gradient():
    x, mapping, shift = tensors((4, 7, 3, 2), (7, 7), (7,))
    mapped_norm(x.detach(), mapping, shift, 1e-3).square().sum().backward()
    assert mapping.grad is not None
    assert shift.grad is not None


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
def test_sums_of_mapped_channels_have_their_gradients(needed):
    inputs = [each.detach().requires_grad_(needed[0]) for each in
              tensors((4, 7, 3, 2), (4, 7, 3, 2))]
    maps = [each.detach().requires_grad_(needed[1]) for each in tensors((7, 7), (7, 7))]
    found = mapped_sum(inputs, maps)
    expected = sum(torch.einsum("bchw,oc->bohw", x, matrix)
                   for x, matrix in zip(inputs, maps, strict=True))
    assert torch.allclose(found, expected)
    wanted = [each for each in (*inputs, *maps) if each.requires_grad]
    for ours, theirs in zip(torch.autograd.grad(found.square().sum(), wanted),
                            torch.autograd.grad(expected.square().sum(), wanted), strict=True):
        assert torch.allclose(ours, theirs)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_channels_are_scaled(order):
    x, scale = tensors((4, 7, 3, 2), (7,))
    x = x.contiguous(memory_format=order)
    assert torch.equal(scaled(x, scale), x * scale[:, None, None])
