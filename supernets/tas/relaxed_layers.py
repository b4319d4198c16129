"""The layers of a relaxed network: they mix widths and depths as these are drawn.

Legend: B batch, C channels of the whole network, H and W sides.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernets.tas.controller import Draw
from supernets.tas.interpolation import ends, interpolated

WIDEST_MAP = 256  # channels that are mapped as a matrix: beyond, it costs more than it saves

Draws = Mapping[str, Draw]


class Now:
    """The draws of the forward pass that is being made; all layers of one network share it."""

    def __init__(self) -> None:
        self.draws: Draws | None = None

    def of(self, gene: str) -> Draw:
        """Returns the draw of a gene."""
        if self.draws is None:
            raise RuntimeError("a layer of a relaxed network runs without the network")
        return self.draws[gene]


class WidthNorm(nn.Module):
    """A batch norm for each width; the two that are drawn are interpolated, weighted and added.

    All widths have the same statistics of the channels that they share, so these are computed
    once; each has a scale and a shift of its own. What these, the interpolation and the sum do is
    one map of channels. Statistics are always those of the batch, and none are kept: of a subnet
    they are measured (`supernets.calibrate`).

    Args:
        norm: Of all channels; timm's may have an activation, which comes behind the sum.
        gene: Of the width.
        widths: Its channels for each choice.
        now: The draws.
    """

    def __init__(self, norm: Any, gene: str, widths: Sequence[int], now: Now) -> None:
        super().__init__()
        self.gene, self._widths, self._now, self._eps = gene, widths, now, norm.eps
        self.affine = nn.Parameter(torch.stack([norm.weight, norm.bias]).detach()
                                   .expand(len(widths), 2, -1).clone())  # (choices, 2, C)
        self.drop, self.act = getattr(norm, "drop", None), getattr(norm, "act", None)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W), 0 beyond the larger width."""
        draw = self._now.of(self.gene)
        channels = x_BCHW.shape[1]
        x_BCHW = F.batch_norm(x_BCHW, None, None, training=True, eps=self._eps)
        weighted = self.affine[list(draw.positions)] * draw.weights[:, None, None]
        widths = tuple(self._widths[position] for position in draw.positions)
        if channels <= WIDEST_MAP:
            x_BCHW = _mapped(x_BCHW, weighted, widths)
        else:
            x_BCHW = _mixed(x_BCHW, weighted, widths)
        for layer in (self.drop, self.act):
            if layer is not None:
                x_BCHW = layer(x_BCHW)
        return x_BCHW

    def copy_into(self, norm: Any, position: int) -> None:
        """Gives a batch norm of all channels the scale and shift of one width."""
        norm.weight.copy_(self.affine[position, 0])
        norm.bias.copy_(self.affine[position, 1])


class WidthMask(nn.Module):
    """Keeps of a shortcut what is within the larger width that is drawn of its block."""

    def __init__(self, gene: str, widths: Sequence[int], now: Now) -> None:
        super().__init__()
        self._gene, self._widths, self._now = gene, widths, now

    def forward(self, x_BCHW: Tensor, channels: int) -> Tensor:
        """Returns (B, channels, H, W), 0 beyond the width."""
        larger = _larger(self._now.of(self._gene), self._widths)
        kept = (torch.arange(channels, device=x_BCHW.device) < larger).to(x_BCHW.dtype)
        return x_BCHW if larger == channels else x_BCHW * kept[:, None, None]


class DepthMixture(nn.Module):
    """A stage: the weighted sum of its outputs after each number of blocks that it may have.

    Args:
        blocks: Of the stage, in order.
        gene: Of the depth.
        depths: Its choices.
        widths: Depth → gene and widths of its output, where outputs differ: they are interpolated
            to the widest.
        now: The draws.
    """

    def __init__(self, blocks: nn.Module, gene: str, depths: Sequence[int],
                 widths: Mapping[int, tuple[str, Sequence[int]]], now: Now) -> None:
        super().__init__()
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self._gene, self._depths, self._widths, self._now = gene, depths, widths, now

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W)."""
        outputs = []
        for number, block in enumerate(self.children(), start=1):
            x_BCHW = block(x_BCHW)
            if number in self._depths:
                outputs.append(x_BCHW)
        channels = x_BCHW.shape[1]
        found = [self._width(depth, channels) for depth in self._depths]
        weights = self._now.of(self._gene).weights
        if len(set(found)) > 1:
            # One map of all of them: weighted and interpolated.
            maps = torch.stack([_spread(width, max(found), channels, x_BCHW.device)
                                for width in found])
            matrix = (weights[:, None, None] * maps).transpose(0, 1).flatten(1)
            return F.conv2d(torch.cat(outputs, 1), matrix[..., None, None])
        total = weights[0] * outputs[0]
        for weight, output in zip(weights[1:], outputs[1:], strict=True):
            total = total + weight * output
        return total

    def _width(self, depth: int, channels: int) -> int:
        if depth not in self._widths:
            return channels
        gene, widths = self._widths[depth]
        return _larger(self._now.of(gene), widths)


def _larger(draw: Draw, widths: Sequence[int]) -> int:
    return max(widths[position] for position in draw.positions)


def _padded(x_BCHW: Tensor, channels: int) -> Tensor:
    missing = channels - x_BCHW.shape[1]
    return F.pad(x_BCHW, (0, 0, 0, 0, 0, missing)) if missing else x_BCHW


def _mapped(x_BCHW: Tensor, affine_N2C: Tensor, widths: tuple[int, ...]) -> Tensor:
    channels = x_BCHW.shape[1]
    taken, places, rows = _map(widths, channels, x_BCHW.device)
    # Each output is the mean of two inputs, which may be the same one.
    scales, shifts = (0.5 * affine_N2C[:, which].flatten()[taken] for which in (0, 1))
    matrix = scales.new_zeros(channels * channels).scatter_add(0, places, scales)
    bias = shifts.new_zeros(channels).scatter_add(0, rows, shifts)
    return F.conv2d(x_BCHW, matrix.view(channels, channels, 1, 1), bias)


@lru_cache(maxsize=256)
def _spread(width: int, larger: int, channels: int, device: torch.device) -> Tensor:
    # Interpolation from one width to a larger one as a matrix of all channels.
    matrix = torch.zeros(channels, channels)
    row = torch.arange(larger)
    for column in ends(width, larger):
        matrix[row, column] += 0.5
    return matrix.to(device)


@lru_cache(maxsize=4096)
def _map(widths: tuple[int, ...], channels: int, device: torch.device
         ) -> tuple[Tensor, Tensor, Tensor]:
    # The entries of a mixture's matrix: which scale each takes, where it stands (flat), and in
    # which row.
    larger = max(widths)
    row = torch.arange(larger)
    taken, places = [], []
    for which, width in enumerate(widths):
        for column in ends(width, larger):
            taken.append(which * channels + column)
            places.append(row * channels + column)
    return (torch.cat(taken).to(device), torch.cat(places).to(device),
            row.repeat(2 * len(widths)).to(device))


def _mixed(x_BCHW: Tensor, affine_N2C: Tensor, widths: tuple[int, ...]) -> Tensor:
    larger = max(widths)
    total: Tensor | None = None
    for affine, width in zip(affine_N2C[..., None, None], widths, strict=True):
        part = interpolated(x_BCHW[:, :width] * affine[0, :width] + affine[1, :width], larger)
        total = part if total is None else total + part
    assert total is not None
    return _padded(total, x_BCHW.shape[1])
