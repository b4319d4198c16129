"""The parts of an image's generation, each a module of one tensor, for blocks to be traced from.

An image is made in R rows: two where it is guided, one with its class and one without. They are an
axis behind the batch, since costs are those of one image. What a part reads beside the tensor that
is passed on stands for itself with the same shapes: keys and values of earlier scales are zeros,
the latent so far is a constant, the class's embedding is the first token, a look-up of codes is a
slice of as many numbers, and the softmax of all codes is the draw. None of these has multiply-adds.

Legend: B batch, T tokens of a scale, S tokens before it, C width, H heads, D width of one, V codes,
E channels of a code, N positions of the latent.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernets.var.layers import Block, Remember
from supernets.var.quantizer import Phi, phi_of
from supernets.var.sampling import strength_at
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae

GUIDANCE = 1.5  # no cost depends on it


class ScaleLayer(nn.Module):
    """One layer at one scale, (B, R, T, C) to the same.

    Args:
        net: On the meta device.
        scale: From 0.
        first: Whether it is the first layer that the scale runs, which finds the conditioning that
            all layers share, where they do.
    """

    def __init__(self, net: VarSupernet, scale: int, *, first: bool) -> None:
        super().__init__()
        config = net.config
        block = net.blocks[0]
        assert isinstance(block, Block)
        self.block = block
        self.shared = net.shared_ada_lin if config.shared_adaln and first else None
        self.waits = config.shared_adaln and not first
        self.past = config.ends[scale - 1] if scale else 0

    def forward(self, x_BRTC: Tensor) -> Tensor:
        """Returns (B, R, T, C)."""
        x = x_BRTC.flatten(0, 1)
        y: Tensor = self.block(x, self._conditioning(x), remember=self._remember())
        return y.view(x_BRTC.shape)

    def _conditioning(self, x: Tensor) -> Tensor:
        if self.shared is not None:
            found: Tensor = self.shared(x[:, 0])
            return found
        if self.waits:  # six vectors are there: the first token and five of zeros
            return F.pad(x[:, :1], (0, 0, 0, 5))[:, None]
        return x[:, 0]

    def _remember(self) -> Remember | None:
        return (lambda k, v: (self._behind_past(k), self._behind_past(v))) if self.past else None

    def _behind_past(self, new: Tensor) -> Tensor:
        # Caches have tokens first: new ones are moved there, and all of them back.
        first = F.pad(new.permute(2, 0, 1, 3), (0, 0, 0, 0, 0, 0, self.past, 0))
        return first.permute(1, 2, 0, 3)


class FirstInput(nn.Module):
    """From the class's embedding in each row, (B, R, C), to the first scale, (B, R, T, C)."""

    def __init__(self, net: VarSupernet) -> None:
        super().__init__()
        self.net = net

    def forward(self, class_BRC: Tensor) -> Tensor:
        """Returns (B, R, T, C)."""
        net = self.net
        tokens = net.config.ends[0]
        each = class_BRC[:, :, None]
        x_BRTC = torch.cat([each] * tokens, 2)
        places = net.pos_start + net.lvl_embed.weight[0] + net.pos_1LC[:, :tokens]
        return x_BRTC + places[None]


class AfterScale(nn.Module):
    """From a scale's last layer to the next scale's first, (B, R, T', C), or to the image.

    Args:
        net: On the meta device.
        vae: On the meta device.
        scale: From 0.
    """

    def __init__(self, net: VarSupernet, vae: MultiScaleVqvae, scale: int) -> None:
        super().__init__()
        sides, phis = vae.config.patch_nums, vae.config.phis
        self.net, self.vae, self.scale, self.sides = net, vae, scale, sides
        phi = vae.quantize.quant_resi.qresi_ls[phi_of(scale, len(sides), phis)]
        assert isinstance(phi, Phi)
        self.phi = phi

    def forward(self, x_BRTC: Tensor) -> Tensor:
        """Returns (B, R, T', C), or (B, channels, height, width) after the last scale."""
        f_hat_BEHW = self._latent(self._codes(x_BRTC))
        if self.scale == len(self.sides) - 1:
            return self.vae.image(f_hat_BEHW)
        return self._next_input(f_hat_BEHW.flatten(2), rows=x_BRTC.shape[1])

    def _codes(self, x_BRTC: Tensor) -> Tensor:
        # (B, T, E) of the codes that are drawn.
        net, rows = self.net, x_BRTC.shape[1]
        x = x_BRTC.flatten(0, 1)
        logits = net.head(net.head_nm(x, x[:, 0])).view(*x_BRTC.shape[:3], -1)
        if rows == 2:
            strength = strength_at(self.scale, len(self.sides), GUIDANCE)
            chosen = logits[:, 0] * (1 + strength) - logits[:, 1] * strength
        else:
            chosen = logits[:, 0]
        drawn, width = chosen.softmax(-1), net.config.code_dim
        return F.pad(drawn, (0, max(0, width - drawn.shape[-1])))[..., :width]

    def _latent(self, codes_BTE: Tensor) -> Tensor:
        # What the codes add to the latent and what is in it so far, (B, E, H, W).
        side = self.sides[-1]
        h = codes_BTE.transpose(1, 2)
        if self.scale < len(self.sides) - 1:
            h = h @ torch.empty(h.shape[2], side * side, device="meta")
        h = h.reshape(*h.shape[:2], side, side)
        y = F.conv2d(h, self.phi.weight, self.phi.bias, padding=1)
        mixed: Tensor = h * (1 - self.phi.share) + y * self.phi.share
        return mixed + torch.empty(1, *h.shape[1:], device="meta")

    def _next_input(self, f_hat_BEN: Tensor, *, rows: int) -> Tensor:
        config, scale = self.net.config, self.scale + 1
        if scale < len(self.sides) - 1:
            f_hat_BEN = f_hat_BEN @ torch.empty(f_hat_BEN.shape[2], self.sides[scale]**2,
                                                device="meta")
        inputs = f_hat_BEN.transpose(1, 2)[:, None]
        x_BRTC = self.net.word_embed(torch.cat([inputs] * rows, 1))
        begin, end = config.ends[scale - 1], config.ends[scale]
        places = self.net.lvl_embed.weight[scale] + self.net.pos_1LC[:, begin:end]
        y: Tensor = x_BRTC + places[None]
        return y
