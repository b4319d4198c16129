import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from var_nets import SMALL_VAE, perturbed, random_tokens, small_vae

from nas.core.errors import InputError
from supernets.var.presets import VAE_FMNIST
from supernets.var.quantizer import MultiScaleQuantizer, Quantised, phi_of
from supernets.var.usage import codebook_usage, count_codes


def _quantizer(**changes: Any) -> MultiScaleQuantizer:
    return perturbed(small_vae(replace(SMALL_VAE, **changes)).quantize)


def _latent(images: int = 3) -> Tensor:
    return torch.randn(images, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def test_phis_of_scales() -> None:
    assert [phi_of(scale, 10, 4) for scale in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [phi_of(scale, 10, 1) for scale in range(10)] == [0] * 10
    assert [phi_of(scale, 4, 2) for scale in range(4)] == [0, 0, 1, 1]


def _cells(f: Tensor, side: int) -> Tensor:
    # Means over the cells of a map, whose edges are rounded outwards.
    size = f.shape[-1]
    edges = [(i * size // side, math.ceil((i + 1) * size / side)) for i in range(side)]
    return torch.stack([f[:, :, top:bottom, left:right].mean((2, 3))
                        for top, bottom in edges for left, right in edges], 1)


def _by_the_formulas(quantizer: MultiScaleQuantizer, f: Tensor) -> tuple[list[Tensor], Tensor,
                                                                         Tensor]:
    codes, rest = quantizer.embedding.weight, f.clone()
    f_hat, tokens, loss = torch.zeros_like(f), [], torch.zeros(())
    sides = quantizer.config.patch_nums
    for scale, side in enumerate(sides):
        found = torch.cdist(_cells(rest, side), codes).argmin(-1)
        h = codes[found].transpose(1, 2).reshape(len(f), -1, side, side)
        if side < sides[-1]:
            h = F.interpolate(h, size=(sides[-1],) * 2, mode="bicubic", align_corners=False)
        ticks = torch.linspace(1 / 12, 11 / 12, 4)
        phi = quantizer.quant_resi.qresi_ls[int((ticks - scale / (len(sides) - 1)).abs().argmin())]
        h = 0.5 * h + 0.5 * F.conv2d(h, phi.get_parameter("weight"), phi.get_parameter("bias"),
                                     padding=1)
        f_hat, rest = f_hat + h, rest - h
        tokens.append(found)
        loss = loss + 1.25 * (f_hat - f).square().mean() / len(sides)
    return tokens, f_hat, loss


def test_latents_are_quantised_as_the_formulas_say() -> None:
    quantizer, f = _quantizer(), _latent()
    tokens, f_hat, loss = _by_the_formulas(quantizer, f)
    found: Quantised = quantizer(f)
    for ours, theirs, encoded in zip(found.tokens, tokens, quantizer.encode(f), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(encoded, theirs)
    assert len({int(token) for tokens_BT in tokens for token in tokens_BT.flatten()}) > 5
    torch.testing.assert_close(found.latent, f_hat)
    torch.testing.assert_close(quantizer.decode(tokens), f_hat)
    torch.testing.assert_close(found.loss, loss)


def test_gradients_pass_straight_through_and_by_the_loss() -> None:
    quantizer, f = _quantizer(), _latent().requires_grad_()
    found = quantizer(f)
    (gradient,) = torch.autograd.grad(found.latent.sum(), f, retain_graph=True)
    assert torch.equal(gradient, torch.ones_like(f))
    (gradient,) = torch.autograd.grad(found.loss, f, retain_graph=True)
    partial = [quantizer.decode(found.tokens[:count]) for count in range(1, 5)]
    pulls = [0.25 * 2 * (f - f_hat) / f.numel() / 4 for f_hat in partial]
    torch.testing.assert_close(gradient, torch.stack(pulls).sum(0))
    found.loss.backward()
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_teacher_inputs_are_the_means_of_all_coarser_scales() -> None:
    vae = small_vae()
    tokens = random_tokens(vae, 2)
    expected = [_cells(vae.quantize.decode(tokens[:scale]), side)
                for scale, side in enumerate(SMALL_VAE.patch_nums) if scale]
    torch.testing.assert_close(vae.quantize.teacher_inputs(tokens), torch.cat(expected, 1))


@pytest.mark.parametrize("config", [
    SMALL_VAE, VAE_FMNIST, replace(SMALL_VAE, strides=(), multipliers=(1,), image_size=4),
    replace(SMALL_VAE, strides=(5,), multipliers=(1, 2), image_size=20)])
def test_fresh_vqvaes_of_any_factor_are_finite_and_use_their_codes(config: Any) -> None:
    vae = small_vae(config)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in vae.state_dict().values())
    size = config.image_size
    images = torch.rand(4, config.image_channels, size, size) * 2 - 1
    found = vae(images)
    assert found.images.shape == images.shape
    assert bool(torch.isfinite(found.images).all())
    assert all(torch.equal(*pair) for pair in zip(found.tokens, vae.tokens(images), strict=True))
    torch.testing.assert_close(vae.images(found.tokens), found.images.detach().clamp(-1, 1),
                               rtol=1e-4, atol=1e-5)


def test_a_vqvae_learns_what_its_codes_can_say() -> None:
    vae = small_vae(replace(SMALL_VAE, strides=(2,), multipliers=(1, 1), width=8,
                            image_size=8)).train()
    images = -torch.ones(2, 1, 8, 8)
    images[0, :, :, 4:] = images[1, :, 4:] = 1.0
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-2)
    for _ in range(24):
        found = vae(images)
        error = F.mse_loss(found.images, images)
        optimizer.zero_grad()
        (error + found.loss).backward()
        optimizer.step()
    assert float(error.detach()) < 0.25  # the mean of both images, without codes, has .5


def test_codes_are_found_in_single_precision_even_where_the_rest_is_not() -> None:
    quantizer, f = _quantizer(), _latent()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = quantizer(f)
    expected = quantizer(f)
    assert all(map(torch.equal, found.tokens, expected.tokens))
    torch.testing.assert_close(found.latent, expected.latent)


def test_usage_of_codes() -> None:
    tokens = [torch.tensor([[0], [0]]), torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])]
    counts = count_codes(tokens, 8)
    assert counts.tolist() == [[2, 0, 0, 0, 0, 0, 0, 0], [2, 2, 2, 2, 0, 0, 0, 0]]
    one, four = codebook_usage(counts + counts)
    assert (one.used, one.perplexity) == (1 / 8, 1.0)
    assert (four.used, four.perplexity) == (0.5, pytest.approx(4.0))
    with pytest.raises(InputError, match="count at least one batch"):
        codebook_usage(torch.zeros(2, 8))


def test_inputs_that_do_not_fit() -> None:
    vae = small_vae()
    with pytest.raises(InputError, match=r"takes images \(B, 1, 24, 24\), not \(2, 1, 25, 24\)"):
        vae(torch.zeros(2, 1, 25, 24))
    with pytest.raises(InputError, match="quantises latents"):
        vae.quantize(torch.zeros(2, 4, 5, 5))
    with pytest.raises(InputError, match=r"scale 2 has \(B, 4\) tokens"):
        vae.quantize.decode([torch.zeros(1, 1, dtype=torch.int64)] * 2)
