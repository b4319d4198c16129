"""The layers of a VAR transformer, with its names of weights.

VAR: Tian et al., arXiv 2404.02905, section 3 and the authors' code: adaptive layer norms (AdaLN)
conditioned on the class, attention with normalised queries and keys.

Legend: B batch, T tokens that run, S tokens attended to, C width, H heads, D width of one.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernets.var.config import VarConfig

EPS = 1e-6
_LARGEST_SCALE = math.log(100)

# Takes a layer's new keys and values (B, H, T, D); gives all that its queries attend to, of S.
Remember = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class SelfAttention(nn.Module):
    """Multi-head attention whose keys have no bias.

    With the L2 norm a query is a unit vector times a learnt scale of its head, of at most 100; a
    key is a unit vector. Without, scores are a quarter of the usual, as in VAR's code.
    """

    def __init__(self, config: VarConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.width
        self.scale = 1.0 if config.attn_l2_norm else 0.25 / config.head_dim**0.5
        self.scale_mul_1H11 = (nn.Parameter(torch.full((1, self.heads, 1, 1), math.log(4.0)))
                               if config.attn_l2_norm else None)
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x_BTC: Tensor, mask_TS: Tensor | None,
                remember: Remember | None = None) -> Tensor:
        """Returns (B, T, C).

        Args:
            x_BTC: Input.
            mask_TS: Bool, True where a token may look; None: everywhere.
            remember: The cache of this layer; None: tokens attend to one another alone.
        """
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = F.linear(x_BTC, self.mat_qkv.weight, bias)
        qkv = qkv.view(*x_BTC.shape[:2], 3, self.heads, -1)
        q_BHTD, k_BHTD, v_BHTD = qkv.permute(2, 0, 3, 1, 4).unbind()
        if self.scale_mul_1H11 is not None:
            scale = self.scale_mul_1H11.clamp(max=_LARGEST_SCALE).exp()
            q_BHTD = F.normalize(q_BHTD, dim=-1) * scale
            k_BHTD = F.normalize(k_BHTD, dim=-1)
        if remember is not None:
            k_BHTD, v_BHTD = remember(k_BHTD, v_BHTD)
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=mask_TS,
                                                scale=self.scale)
        y: Tensor = self.proj(y_BHTD.transpose(1, 2).flatten(2))
        return y


class FeedForward(nn.Module):
    """Two dense layers around the tanh form of GELU."""

    def __init__(self, config: VarConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_ratio * config.width)
        self.fc2 = nn.Linear(config.mlp_ratio * config.width, config.width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Returns (B, T, C)."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x_BTC), approximate="tanh"))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each behind an AdaLN and a gate.

    Its conditioning is six vectors: gates γ1, γ2, scales 1, 2, shifts 1, 2. They are a projection
    of the class's embedding, or, where AdaLN is shared, that of all blocks and an offset.
    """

    def __init__(self, config: VarConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = SelfAttention(config)
        self.ffn = FeedForward(config)
        # One of the two.
        self.ada_gss = nn.Parameter(torch.zeros(1, 1, 6, width)) if config.shared_adaln else None
        self.ada_lin = (None if config.shared_adaln else
                        nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width)))

    def forward(self, x_BTC: Tensor, conditioning: Tensor, mask_TS: Tensor | None = None, *,
                remember: Remember | None = None, kept_2B11: Tensor | None = None) -> Tensor:
        """Returns (B, T, C).

        Args:
            x_BTC: Input.
            conditioning: The class's embedding (B, C), or the shared projection (B, 1, 6, C).
            mask_TS: As of `SelfAttention`.
            remember: As of `SelfAttention`.
            kept_2B11: Factors of both branches of each image: stochastic depth; None: 1.
        """
        if self.ada_gss is not None:
            six = self.ada_gss + conditioning
        else:
            assert self.ada_lin is not None
            six = self.ada_lin(conditioning).view(x_BTC.shape[0], 1, 6, -1)
        gate1, gate2, scale1, scale2, shift1, shift2 = six.unbind(2)
        y = gate1 * self.attn(modulated(x_BTC, scale1, shift1), mask_TS, remember)
        x_BTC = x_BTC + (y if kept_2B11 is None else y * kept_2B11[0])
        y = gate2 * self.ffn(modulated(x_BTC, scale2, shift2))
        out: Tensor = x_BTC + (y if kept_2B11 is None else y * kept_2B11[1])
        return out


class HeadNorm(nn.Module):
    """The AdaLN before the classifier; never shared."""

    def __init__(self, config: VarConfig) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(config.width, 2 * config.width))

    def forward(self, x_BTC: Tensor, class_BC: Tensor) -> Tensor:
        """Returns (B, T, C)."""
        scale, shift = self.ada_lin(class_BC)[:, None].chunk(2, -1)
        return modulated(x_BTC, scale, shift)


class SharedProjection(nn.Linear):
    """The conditioning of all blocks at once."""

    def forward(self, class_BC: Tensor) -> Tensor:
        """Returns (B, 1, 6, C)."""
        return super().forward(class_BC).view(-1, 1, 6, class_BC.shape[-1])


def modulated(x_BTC: Tensor, scale_B1C: Tensor, shift_B1C: Tensor) -> Tensor:
    """Returns the layer norm of x times (1 + scale), plus shift."""
    return F.layer_norm(x_BTC, x_BTC.shape[-1:], eps=EPS) * (1 + scale_B1C) + shift_B1C
