"""A network whose widths and depths are drawn at every step, two widths of each at once.

Legend: B batch, C channels of the whole network, H and W sides.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene
from supernets.tas.controller import Draw
from supernets.tas.interpolation import ends, interpolated
from supernets.timm.cifar_resnet import FitChannels
from supernets.timm.elastic import Elastic, depth_gene
from supernets.timm.families import StageFacts
from supernets.timm.layout import Axis, Layout

WIDEST_MAP = 256  # channels that are mapped as a matrix: beyond, it costs more than it saves

Draws = Mapping[str, Draw]


class _Now:
    """The draws of the forward pass that is being made; all layers of one network share it."""

    def __init__(self) -> None:
        self.draws: Draws | None = None

    def of(self, gene: str) -> Draw:
        """Returns the draw of a gene."""
        if self.draws is None:
            raise RuntimeError("a layer of a relaxed network runs without the network")
        return self.draws[gene]


class Relaxed(nn.Module):
    """A model in which each elastic width is a mixture of two, and each depth of all.

    A layer is computed at its full width; of its output each width takes its leading channels, has
    a batch norm of its own, and is interpolated to the larger one (`interpolated`); the mixture is
    their weighted sum (arXiv 1905.09717, section 3.2). Channels beyond the larger width are 0, so
    that the next layer reads as if they were not there: shapes never change, and all other layers
    are the model's own. Widths that a model ties together, those between residual blocks, are
    drawn together.

    Args:
        model: With batch norms; it is copied.
        elastic: Its space, where blocks go from the end of a stage.

    Raises:
        InputError: The model has an elastic width without a batch norm, or its blocks go in
            another order.
    """

    def __init__(self, model: nn.Module, elastic: Elastic) -> None:
        super().__init__()
        self.elastic = elastic
        self._now = _Now()
        self.model = copy.deepcopy(model)
        self._genes = {gene.name: gene for gene in elastic.space.genes}
        _check_has_norms(elastic.facts.layout, self.model, self._genes)
        for path, layer in list(self.model.named_modules()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                self._relax_width(path, layer)
        for stage in elastic.facts.stages:
            self._relax_shortcuts(stage)
            self._relax_depth(stage)

    def forward(self, x_BCHW: Tensor, draws: Draws) -> Any:
        """Returns the model's output for these draws: logits."""
        self._now.draws = draws
        try:
            return self.model(x_BCHW)
        finally:
            self._now.draws = None

    @property
    def depth_genes(self) -> frozenset[str]:
        """The genes that are depths of stages."""
        return frozenset(map(depth_gene, self.elastic.facts.stages)) & set(self._genes)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of what optimizers should not decay: scales and shifts of norms."""
        return {name for name, _ in self.named_parameters() if name.endswith(".affine")}

    def copy_into(self, model: nn.Module, arch: Arch) -> None:
        """Gives a model the weights, so that a subnet of it has those of one architecture here.

        Of the batch norms it takes the architecture's own scales and shifts; their statistics must
        be measured.

        Args:
            model: What this was made of.
            arch: Of the same space.
        """
        chosen = {name: self._genes[name].choices.index(value)
                  for name, value in arch.choices if name in self._genes}
        own = dict(self.named_modules())
        with torch.no_grad():
            for path, layer in model.named_modules():
                found = own[f"model.{path}" if path else "model"]
                if isinstance(found, WidthNorm):
                    found.copy_into(layer, chosen[found.gene])
                else:
                    _copy_own(found, layer)

    def _relax_width(self, path: str, norm: nn.Module) -> None:
        axes = self.elastic.facts.layout.axes.get(f"{path}.weight")
        axis = None if axes is None else axes[0]
        gene = None if axis is None else self._genes.get(axis.dim)
        if axis is not None and gene is not None:
            widths = _entries(self.elastic.facts.layout, axis, gene)
            _replace(self.model, path, WidthNorm(norm, gene.name, widths, self._now))

    def _relax_shortcuts(self, stage: StageFacts) -> None:
        # Where blocks have widths of their own, what a shortcut brings beyond them is cut.
        for block in stage.blocks:
            gene = self._genes.get(str(block.target))
            path = f"{block.path}.fit"
            if gene is not None and isinstance(getattr(self.model.get_submodule(block.path),
                                                       "fit", None), FitChannels):
                _replace(self.model, path, WidthMask(gene.name, self._channels(gene), self._now))

    def _relax_depth(self, stage: StageFacts) -> None:
        gene = self._genes.get(depth_gene(stage))
        if gene is None:
            return
        order, count = list(self.elastic.order(stage)), len(stage.blocks)
        depths = [int(depth) for depth in gene.choices]
        if order[:count - depths[0]] != list(range(count - 1, depths[0] - 1, -1)):
            raise InputError(f"the blocks of {stage.name} do not go from its end; a relaxed "
                             "network needs them to")
        parent = stage.blocks[0].path.rpartition(".")[0]
        widths = {}
        for depth in depths if stage.out is not None else ():
            target = self._genes.get(str(stage.blocks[depth - 1].target))
            if target is not None:
                widths[depth] = (target.name, self._channels(target))
        _replace(self.model, parent, DepthMixture(
            self.model.get_submodule(parent), gene.name, depths, widths, self._now))

    def _channels(self, gene: Gene) -> list[int]:
        return [int(value) for value in gene.choices]


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

    def __init__(self, norm: Any, gene: str, widths: Sequence[int], now: _Now) -> None:
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

    def __init__(self, gene: str, widths: Sequence[int], now: _Now) -> None:
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
                 widths: Mapping[int, tuple[str, Sequence[int]]], now: _Now) -> None:
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
            maps = torch.stack([_spread(width, max(found), channels) for width in found])
            outputs = [torch.cat(outputs, 1)]  # one map of all of them: weighted, interpolated
            matrix = weights[:, None, None] * maps.to(weights)
            return F.conv2d(outputs[0], matrix.transpose(0, 1).flatten(1)[..., None, None])
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


def _entries(layout: Layout, axis: Axis, gene: Gene) -> list[int]:
    step = layout.dims[axis.dim].step
    return [axis.entries(int(value) // step) for value in gene.choices]


def _padded(x_BCHW: Tensor, channels: int) -> Tensor:
    missing = channels - x_BCHW.shape[1]
    return F.pad(x_BCHW, (0, 0, 0, 0, 0, missing)) if missing else x_BCHW


def _mapped(x_BCHW: Tensor, affine_N2C: Tensor, widths: tuple[int, ...]) -> Tensor:
    channels = x_BCHW.shape[1]
    taken, parts, places, rows = (table.to(x_BCHW.device) for table in _map(widths, channels))
    scales, shifts = (affine_N2C[:, which].flatten()[taken] * parts for which in (0, 1))
    matrix = scales.new_zeros(channels * channels).scatter_add(0, places, scales)
    bias = shifts.new_zeros(channels).scatter_add(0, rows, shifts)
    return F.conv2d(x_BCHW, matrix.view(channels, channels, 1, 1), bias)


@lru_cache(maxsize=4096)
def _spread(width: int, larger: int, channels: int) -> Tensor:
    # Interpolation from one width to a larger one as a matrix of all channels.
    matrix = torch.zeros(channels, channels)
    row = torch.arange(larger)
    for column in ends(width, larger):
        matrix[row, column] += 0.5
    return matrix


@lru_cache(maxsize=4096)
def _map(widths: tuple[int, ...], channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # The entries of a mixture's matrix: which scale each takes, what part of it, where it stands
    # (flat), and in which row.
    larger = max(widths)
    row = torch.arange(larger)
    taken, places = [], []
    for which, width in enumerate(widths):
        for column in ends(width, larger):
            taken.append(which * channels + column)
            places.append(row * channels + column)
    rows = row.repeat(2 * len(widths))
    return torch.cat(taken), torch.full((len(rows),), 0.5), torch.cat(places), rows


def _mixed(x_BCHW: Tensor, affine_N2C: Tensor, widths: tuple[int, ...]) -> Tensor:
    larger = max(widths)
    total: Tensor | None = None
    for affine, width in zip(affine_N2C[..., None, None], widths, strict=True):
        part = interpolated(x_BCHW[:, :width] * affine[0, :width] + affine[1, :width], larger)
        total = part if total is None else total + part
    assert total is not None
    return _padded(total, x_BCHW.shape[1])


def _copy_own(source: nn.Module, target: nn.Module) -> None:
    # Without children: norms with an activation have one.
    given = dict(source.named_parameters(recurse=False)) | dict(
        source.named_buffers(recurse=False))
    for name, tensor in (*target.named_parameters(recurse=False),
                         *target.named_buffers(recurse=False)):
        tensor.copy_(given[name])


def _check_has_norms(layout: Layout, model: nn.Module, genes: Mapping[str, Gene]) -> None:
    normed = {axes[0].dim for name, axes in layout.axes.items() if axes[0] is not None
              and isinstance(model.get_submodule(name.rpartition(".")[0]),
                             nn.modules.batchnorm._BatchNorm)}
    bare = [name for name in genes if name in layout.dims and name not in normed]
    if bare:
        raise InputError(f"width {bare[0]} has no batch norm, which a relaxed network needs; keep "
                         "it as it is")


def _replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, layer)
