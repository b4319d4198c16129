"""A HuBERT encoder of plain torch layers, whose layers may differ in heads and FFN units.

It has the interface, the names and the state dict of transformers' HubertModel (whose
configuration has one number of heads that spans the width, and one of FFN units).

Legend: B batch, S samples, T frames, E width, C channels of the frontend, H heads, D width of one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.frontend import Frontend, kept_frames
from supernets.hubert.space import LayerPlan, SubnetPlan


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """The states of an encoder, named as transformers names them.

    Attributes:
        last_hidden_state: (B, T, E); frames of padding hold anything.
        hidden_states: If asked for: the input of the first layer and the output of each.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class PlainHubert(nn.Module):
    """An extracted encoder.

    Args:
        config: Of the supernet that it comes from: its convolutions and the width of a head.
        subnet: Its own width and layers.
    """

    def __init__(self, config: ElasticHubertConfig, subnet: SubnetPlan) -> None:
        super().__init__()
        self.elastic, self.subnet = config, subnet
        self.masked_spec_embed = nn.Parameter(torch.zeros(subnet.embed))
        self.feature_extractor = Frontend(config)
        self.feature_projection = FeatureProjection(config.frontend_width, subnet.embed)
        self.encoder = Encoder(config, subnet)

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None,
                mask_time_indices: Tensor | None = None,
                output_hidden_states: bool = False) -> EncoderOutput:
        """Returns the states of waveforms (B, S) of 16 kHz.

        Args:
            input_values: (B, S).
            attention_mask: (B, S), 0 behind the end of a clip; None: there is no padding.
            mask_time_indices: (B, T) bool, True where the mask embedding stands in for a frame.
            output_hidden_states: Whether to return those of every layer.
        """
        x_BTE = self.feature_projection(self.feature_extractor(input_values))
        if mask_time_indices is not None:
            filler = self.masked_spec_embed.to(x_BTE.dtype)
            x_BTE = torch.where(mask_time_indices[..., None], filler, x_BTE)
        keep_BT = None
        if attention_mask is not None:
            keep_BT = kept_frames(self.elastic, attention_mask.sum(1), x_BTE.shape[1])
        states: list[Tensor] = self.encoder(x_BTE, keep_BT)
        return EncoderOutput(states[-1], tuple(states) if output_hidden_states else None)


class FeatureProjection(nn.Module):
    """Layer norm of the frontend's features, and their projection."""

    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, embed)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Returns (B, T, E)."""
        y: Tensor = self.projection(self.layer_norm(x_BTC))
        return y


class Encoder(nn.Module):
    """Positional convolution, norm, layers."""

    def __init__(self, config: ElasticHubertConfig, subnet: SubnetPlan) -> None:
        super().__init__()
        self.pos_conv_embed = PositionalConv(config, subnet.embed)
        self.layer_norm = nn.LayerNorm(subnet.embed)
        self.layers = nn.ModuleList(
            EncoderLayer(subnet.embed, layer, config.head_dim) for layer in subnet.layers)

    def forward(self, x_BTE: Tensor, keep_BT: Tensor | None = None) -> list[Tensor]:
        """Returns the first layer's input and each layer's output, (B, T, E) each."""
        keep_B11T = None
        if keep_BT is not None:
            x_BTE = x_BTE.masked_fill(~keep_BT[..., None], 0.0)
            keep_B11T = keep_BT[:, None, None]
        states = [self.layer_norm(x_BTE + self.pos_conv_embed(x_BTE))]
        for layer in self.layers:
            states.append(layer(states[-1], keep_B11T))
        return states


class PositionalConv(nn.Module):
    """The grouped convolution with weight norm whose output tells positions apart."""

    def __init__(self, config: ElasticHubertConfig, embed: int) -> None:
        super().__init__()
        kernel = config.position_kernel
        self.conv = weight_norm(nn.Conv1d(embed, embed, kernel, padding=kernel // 2,
                                          groups=config.position_groups), dim=2)

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Returns (B, T, E); an even kernel makes one frame more, which goes."""
        y_BET = self.conv(x_BTE.transpose(1, 2))[..., :x_BTE.shape[1]]
        return F.gelu(y_BET.transpose(1, 2))


class EncoderLayer(nn.Module):
    """A transformer layer with norms behind its two residual sums."""

    def __init__(self, embed: int, layer: LayerPlan, head_dim: int) -> None:
        super().__init__()
        self.attention = SelfAttention(embed, layer.heads, head_dim)
        self.layer_norm = nn.LayerNorm(embed)
        self.feed_forward = FeedForward(embed, layer.units)
        self.final_layer_norm = nn.LayerNorm(embed)

    def forward(self, x_BTE: Tensor, keep_B11T: Tensor | None = None) -> Tensor:
        """Returns (B, T, E)."""
        x_BTE = self.layer_norm(x_BTE + self.attention(x_BTE, keep_B11T))
        y: Tensor = self.final_layer_norm(x_BTE + self.feed_forward(x_BTE))
        return y


class SelfAttention(nn.Module):
    """Multi-head self-attention whose heads need not span the width."""

    def __init__(self, embed: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(embed, heads * head_dim)
        self.k_proj = nn.Linear(embed, heads * head_dim)
        self.v_proj = nn.Linear(embed, heads * head_dim)
        self.out_proj = nn.Linear(heads * head_dim, embed)

    def forward(self, x_BTE: Tensor, keep_B11T: Tensor | None = None) -> Tensor:
        """Returns (B, T, E)."""
        q_BHTD, k_BHTD, v_BHTD = (
            project(x_BTE).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj))
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=keep_B11T)
        y: Tensor = self.out_proj(y_BHTD.transpose(1, 2).flatten(2))
        return y


class FeedForward(nn.Module):
    """Two dense layers around GELU."""

    def __init__(self, embed: int, units: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(embed, units)
        self.output_dense = nn.Linear(units, embed)

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Returns (B, T, E)."""
        y: Tensor = self.output_dense(F.gelu(self.intermediate_dense(x_BTE)))
        return y
