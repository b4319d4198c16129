"""The parts of HuBERT that LightHuBERT slices in ways of its own, and its transformer layer.

Legend: B batch, T frames, E width of the subnet, C channels of the frontend, F FFN units, K kernel,
G groups. Names are those of transformers. Each runs at the width of its input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import ArchError
from supernets.elastic.attention import ElasticSelfAttention
from supernets.elastic.linear import ElasticLinear
from supernets.elastic.norm import ElasticLayerNorm
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.space import LayerPlan


class ElasticPositionalConv(nn.Module):
    """The grouped convolution whose output is added to the frames as their position.

    Weight norm (one gain for each tap, over all channels) is applied to the WHOLE weight, and the
    leading part of the result is used: channels that a subnet does not have act on it through the
    norm, and receive gradients. The number of groups stays.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        self.groups, kernel = config.position_groups, config.position_kernel
        self.weight_v = nn.Parameter(torch.empty(config.width, config.width // self.groups, kernel))
        nn.init.normal_(self.weight_v, std=(4.0 / (kernel * config.width)) ** 0.5)
        self.weight_g = nn.Parameter(self.norm_11K(self.weight_v.detach()))
        self.bias = nn.Parameter(torch.zeros(config.width))

    @staticmethod
    def norm_11K(weight: Tensor) -> Tensor:
        """Returns the norm of each tap over all channels, (1, 1, K)."""
        norm: Tensor = torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)
        return norm

    def parts(self, embed: int) -> tuple[Tensor, Tensor]:
        """Returns gain (1, 1, K) and direction (E, E/G, K) of which E channels' weight is made.

        The direction is a view. Its norm differs from that of the whole, and the gain makes up for
        it: weight norm of the two gives the slice of the whole weight.
        """
        part = self.weight_v[:embed, :embed // self.groups]
        return self.weight_g * (self.norm_11K(part) / self.norm_11K(self.weight_v)), part

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Returns (B, T, E).

        Raises:
            ArchError: More channels than are stored, or not a multiple of the groups.
        """
        embed = x_BTE.shape[-1]
        if embed > self.weight_v.shape[0] or embed % self.groups:
            raise ArchError(f"positional conv stores {self.weight_v.shape[0]} channels in "
                            f"{self.groups} groups, asked for {embed}")
        scale_11K = self.weight_g / self.norm_11K(self.weight_v)
        weight = self.weight_v[:embed, :embed // self.groups] * scale_11K
        kernel = weight.shape[-1]
        y_BET = F.conv1d(x_BTE.transpose(1, 2), weight, self.bias[:embed], padding=kernel // 2,
                         groups=self.groups)
        return F.gelu(y_BET[..., :x_BTE.shape[1]].transpose(1, 2))


class ElasticFeedForward(nn.Module):
    """Two dense layers around GELU, whose units are taken in blocks.

    See `ElasticHubertConfig.unit_blocks`. Each block runs by itself, on views of the weights, and
    the second layer sums over blocks.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        self._width, self._blocks = config.width, config.unit_blocks
        self.intermediate_dense = ElasticLinear(config.width, config.stored_units)
        self.output_dense = ElasticLinear(config.stored_units, config.width)

    def forward(self, x_BTE: Tensor, units: int) -> Tensor:
        """Returns (B, T, E)."""
        embed = x_BTE.shape[-1]
        inner, outer = self.intermediate_dense, self.output_dense
        assert inner.bias is not None
        assert outer.bias is not None
        sizes = [block.stop - block.start for block in self._blocks(embed, units)]
        # At the stored width blocks lie side by side and are one.
        span, sizes = (units, [units]) if embed == self._width else (self._width, sizes)
        # The gradient of a split is one tensor; that of a slice is as large as what was sliced.
        parts = zip(torch.split(inner.weight[:, :embed], span), torch.split(inner.bias, span),
                    torch.split(outer.weight[:embed], span, 1), sizes, strict=False)
        x, y = x_BTE.reshape(-1, embed), outer.bias[:embed]
        for weight, bias, back, size in parts:
            hidden = F.gelu(F.linear(x, weight[:size], bias[:size]))
            y = torch.addmm(y, hidden, back[:, :size].t())
        return y.view(x_BTE.shape)


class ElasticFeatureProjection(nn.Module):
    """Layer norm of the frontend's features, and their projection onto the width of a subnet."""

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.frontend_width)
        self.projection = ElasticLinear(config.frontend_width, config.width)

    def forward(self, x_BTC: Tensor, embed: int) -> Tensor:
        """Returns (B, T, E)."""
        y: Tensor = self.projection(self.layer_norm(x_BTC), embed)
        return y


class ElasticEncoderLayer(nn.Module):
    """A transformer layer with norms behind its two residual sums."""

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        self.attention = ElasticSelfAttention(config.width, config.stored_heads, config.head_dim)
        self.layer_norm = ElasticLayerNorm(config.width)
        self.feed_forward = ElasticFeedForward(config)
        self.final_layer_norm = ElasticLayerNorm(config.width)

    def forward(self, x_BTE: Tensor, layer: LayerPlan, keep_B11T: Tensor | None) -> Tensor:
        """Returns (B, T, E) with the heads and FFN units of the plan."""
        x_BTE = self.layer_norm(x_BTE + self.attention(x_BTE, layer.heads, keep_B11T))
        y: Tensor = self.final_layer_norm(x_BTE + self.feed_forward(x_BTE, layer.units))
        return y


class ElasticEncoder(nn.Module):
    """The positional convolution, its norm and the stored layers."""

    def __init__(self, config: ElasticHubertConfig) -> None:
        super().__init__()
        self.pos_conv_embed = ElasticPositionalConv(config)
        self.layer_norm = ElasticLayerNorm(config.width)
        self.layers = nn.ModuleList(ElasticEncoderLayer(config) for _ in range(config.layers))
