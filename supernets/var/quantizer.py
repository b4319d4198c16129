"""Multi-scale residual vector quantisation: an image's latent as token maps, coarse to fine.

VAR: Tian et al., arXiv 2404.02905, algorithms 1 and 2, and the authors' code. What a map's codes
leave of the latent is quantised by the next, finer map.

Legend: B batch, C channels of a code, H and W the latent's sides, T tokens of one scale, L of all,
V codes, S scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.var.vae_config import VaeConfig


@dataclass(frozen=True, slots=True)
class Quantised:
    """A latent in codes.

    Attributes:
        latent: What the codes stand for, (B, C, H, W); its gradient is passed on to the input.
        tokens: A map for each scale, (B, T) int64 each, row by row.
        loss: Mean over scales of β·‖sg f̂ − f‖² + ‖f̂ − sg f‖², means over numbers; a scalar.
    """

    latent: Tensor
    tokens: list[Tensor]
    loss: Tensor


class Phi(nn.Conv2d):
    """The convolution behind the upsampling: a share of it and the rest of its input.

    It computes in single precision whatever its weights are stored in.
    """

    def __init__(self, channels: int, share: float) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.share = share

    def forward(self, h_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W)."""
        assert self.bias is not None
        with torch.autocast(h_BCHW.device.type, enabled=False):
            y_BCHW = F.conv2d(h_BCHW, self.weight.float(), self.bias.float(), padding=1)
        return (1 - self.share) * h_BCHW + self.share * y_BCHW


class Phis(nn.Module):
    """The convolutions of all scales; see `phi_of`."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(Phi(config.code_dim, config.phi_share)
                                      for _ in range(config.phis))


def phi_of(scale: int, scales: int, phis: int) -> int:
    """Returns which convolution a scale has: the one whose tick is nearest to its place.

    A scale's place is scale/(scales − 1). Ticks are spread evenly from 1/(3n) to 1 − 1/(3n) for
    the n = 4 of VAR, and from 1/(2n) else, as its code has it; of equally near ones the first.
    """
    margin = 1 / (3 * phis) if phis == 4 else 1 / (2 * phis)
    ticks = np.linspace(margin, 1 - margin, phis)
    return int(np.abs(ticks - scale / (scales - 1)).argmin())


class MultiScaleQuantizer(nn.Module):
    """Codes, and the convolutions between them and the latent; all in single precision.

    Args:
        config: Of the VQVAE.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.code_dim)
        self.quant_resi = Phis(config)
        # Codes of unit length in the mean. torch's own would be √C long, far from a fresh latent.
        nn.init.normal_(self.embedding.weight, std=config.code_dim**-0.5)

    def forward(self, f_BCHW: Tensor) -> Quantised:
        """Returns a latent in codes, in single precision, with the loss that trains them.

        Raises:
            InputError: A latent of other channels or sides.
        """
        self._check_latent(f_BCHW)
        f = f_BCHW.float()
        fixed = f.detach()
        rest, f_hat = fixed.clone(), torch.zeros_like(fixed)
        loss, tokens = f.new_zeros(()), []
        for scale in range(len(self.config.patch_nums)):
            tokens.append(self.nearest(rest, scale))
            h = self.contribution(tokens[-1], scale)
            f_hat = f_hat + h
            rest = rest - h.detach()
            loss = loss + (self.config.commitment * F.mse_loss(f_hat.detach(), f)
                           + F.mse_loss(f_hat, fixed))
        return Quantised((f_hat.detach() - fixed) + f, tokens, loss / len(tokens))

    @torch.no_grad()
    def encode(self, f_BCHW: Tensor) -> list[Tensor]:
        """Returns the token maps of a latent, (B, T) int64 each."""
        self._check_latent(f_BCHW)
        rest, tokens = f_BCHW.float().clone(), []
        for scale in range(len(self.config.patch_nums)):
            tokens.append(self.nearest(rest, scale))
            rest = rest - self.contribution(tokens[-1], scale)
        return tokens

    def decode(self, tokens: Sequence[Tensor]) -> Tensor:
        """Returns the latent (B, C, H, W) that token maps stand for; fewer maps, a coarser one."""
        f_hat = self.blank(tokens[0].shape[0])
        for scale, tokens_BT in enumerate(tokens):
            f_hat = f_hat + self.contribution(tokens_BT, scale)
        return f_hat

    def teacher_inputs(self, tokens: Sequence[Tensor]) -> Tensor:
        """Returns what a transformer reads of an image: (B, L − T of the first scale, C).

        Each scale's input is the sum of all coarser scales, averaged over the cells of its map.
        """
        f_hat, inputs = self.blank(tokens[0].shape[0]), []
        for scale, tokens_BT in enumerate(tokens[:-1]):
            f_hat = f_hat + self.contribution(tokens_BT, scale)
            inputs.append(self.scale_input(f_hat, scale + 1))
        return torch.cat(inputs, 1)

    def nearest(self, rest_BCHW: Tensor, scale: int) -> Tensor:
        """Returns the nearest codes (B, T), by Euclidean distance, to what a scale sees."""
        rows = _sequence(self._reduced(rest_BCHW, scale)).flatten(0, 1)
        codes = self.embedding.weight.detach().float()
        with torch.autocast(rows.device.type, enabled=False):
            squares = rows.square().sum(1, keepdim=True) + codes.square().sum(1)
            found = torch.addmm(squares, rows, codes.T, alpha=-2).argmin(1)
        return found.view(len(rest_BCHW), -1)

    def contribution(self, tokens_BT: Tensor, scale: int) -> Tensor:
        """Returns what a scale's codes add to the latent, (B, C, H, W).

        Raises:
            InputError: A map of another size than the scale's.
        """
        sides = self.config.patch_nums
        if tokens_BT.dim() != 2 or tokens_BT.shape[1] != sides[scale] ** 2:
            raise InputError(f"scale {scale + 1} has (B, {sides[scale] ** 2}) tokens, not "
                             f"{tuple(tokens_BT.shape)}")
        h = self.embedding(tokens_BT).float().transpose(1, 2).unflatten(2, (sides[scale], -1))
        if scale < len(sides) - 1:
            h = F.interpolate(h, size=(sides[-1], sides[-1]), mode="bicubic")
        phi: Tensor = self.quant_resi.qresi_ls[
            phi_of(scale, len(sides), self.config.phis)](h.contiguous())
        return phi

    def scale_input(self, f_hat_BCHW: Tensor, scale: int) -> Tensor:
        """Returns the sum of the scales before as a scale reads it, (B, T, C)."""
        return _sequence(self._reduced(f_hat_BCHW, scale))

    def blank(self, batch: int) -> Tensor:
        """Returns the latent (B, C, H, W) before the first scale: zeros."""
        side = self.config.patch_nums[-1]
        return torch.zeros(batch, self.config.code_dim, side, side,
                           device=self.embedding.weight.device)

    def _reduced(self, f_BCHW: Tensor, scale: int) -> Tensor:
        sides = self.config.patch_nums
        if scale == len(sides) - 1:
            return f_BCHW
        return F.interpolate(f_BCHW, size=(sides[scale], sides[scale]), mode="area")

    def _check_latent(self, f_BCHW: Tensor) -> None:
        side = self.config.patch_nums[-1]
        if f_BCHW.shape[1:] != (self.config.code_dim, side, side):
            raise InputError(f"{self.config.name} quantises latents (B, {self.config.code_dim}, "
                             f"{side}, {side}), not {tuple(f_BCHW.shape)}; give images of "
                             f"{self.config.image_size} pixels")


def _sequence(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.flatten(2).transpose(1, 2)
