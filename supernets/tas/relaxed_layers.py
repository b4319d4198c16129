"""The layers of a relaxed network: they mix widths and depths as these are drawn.

Legend: B batch, C channels of the whole network, H and W sides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernets.tas.controller import Draw
from supernets.tas.interpolation import interpolated
from supernets.tas.mapped import channel_maps, mapped_norm, mapped_sum, scaled, spread_CC

WIDEST_MAP = 256  # channels that are mapped as a matrix: beyond, it costs more than it saves

Draws = Mapping[str, Draw]


class Now:
    """What one forward pass is made with; all layers of one network share it."""

    def __init__(self) -> None:
        self._draws: Draws | None = None
        self._maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def drawn(self, draws: Draws, norms: Iterable["WidthNorm"]) -> Iterator[None]:
        """Holds draws, and what they make of batch norms, for a forward pass."""
        self._draws = draws
        try:
            self._maps = _maps(norms, draws)
            yield
        finally:
            self._draws, self._maps = None, {}

    def of(self, gene: str) -> Draw:
        """Returns the draw of a gene."""
        if self._draws is None:
            raise RuntimeError("a layer of a relaxed network runs without the network")
        return self._draws[gene]

    def map_of(self, norm: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Returns the map of a norm's channels and their shifts; None: it is too wide for one."""
        return self._maps.get(norm)


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
        found = self._now.map_of(self)
        if found is not None:
            x_BCHW = mapped_norm(x_BCHW, *found, self._eps)
        else:
            draw = self._now.of(self.gene)
            affine = torch.stack([self.affine[position] for position in draw.positions])
            x_BCHW = F.batch_norm(x_BCHW, None, None, training=True, eps=self._eps)
            x_BCHW = _mixed(x_BCHW, affine * draw.weights[:, None, None], self.drawn(draw))
        for layer in (self.drop, self.act):
            if layer is not None:
                x_BCHW = layer(x_BCHW)
        return x_BCHW

    def drawn(self, draw: Draw) -> tuple[int, ...]:
        """Returns the widths of a draw."""
        return tuple(self._widths[position] for position in draw.positions)

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
        return x_BCHW if larger == channels else scaled(x_BCHW, kept)


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
            return mapped_sum(outputs, [
                weight * _spread(width, max(found), channels, x_BCHW.device)
                for weight, width in zip(weights.unbind(), found, strict=True)])
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


def _maps(norms: Iterable[WidthNorm], draws: Draws) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    # Norms that are equally wide at once: each alone is a dozen operations on a few numbers.
    groups: dict[tuple[int, int], list[WidthNorm]] = {}
    for norm in norms:
        channels = norm.affine.shape[-1]
        if channels <= WIDEST_MAP:
            count = len(draws[norm.gene].positions)
            groups.setdefault((channels, count), []).append(norm)
    found: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    for (_, count), group in groups.items():
        drawn = [draws[norm.gene] for norm in group]
        starts = accumulate((len(norm.affine) for norm in group[:-1]), initial=0)
        rows = [start + position for start, draw in zip(starts, drawn, strict=True)
                for position in draw.positions]
        affine = torch.cat([norm.affine for norm in group])
        affine = affine.index_select(0, torch.tensor(rows, device=affine.device))
        maps, shifts = channel_maps(
            affine.view(len(group), count, *affine.shape[1:]),
            torch.stack([draw.weights for draw in drawn]),
            [norm.drawn(draw) for norm, draw in zip(group, drawn, strict=True)])
        found |= dict(zip(group, zip(maps.unbind(), shifts.unbind(), strict=True), strict=True))
    return found


@lru_cache(maxsize=256)
def _spread(width: int, larger: int, channels: int, device: torch.device) -> Tensor:
    return spread_CC(width, larger, channels, device)


def _mixed(x_BCHW: Tensor, affine_N2C: Tensor, widths: tuple[int, ...]) -> Tensor:
    larger = max(widths)
    total: Tensor | None = None
    for affine, width in zip(affine_N2C[..., None, None], widths, strict=True):
        part = interpolated(x_BCHW[:, :width] * affine[0, :width] + affine[1, :width], larger)
        total = part if total is None else total + part
    assert total is not None
    return _padded(total, x_BCHW.shape[1])
