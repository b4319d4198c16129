"""A network whose widths and depths are drawn at every step, two widths of each at once.

Legend: B batch, C channels, H and W sides.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene
from supernets.tas.controller import Draw
from supernets.tas.interpolation import interpolated
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

    A layer is computed at the larger of both widths; of its output each width takes its leading
    channels, has a batch norm of its own, and is interpolated to the larger one (`interpolated`);
    the mixture is their weighted sum (arXiv 1905.09717, section 3.2). Widths that a model ties
    together, those between residual blocks, are drawn together.

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
        for stage in elastic.facts.stages:
            self._relax_depth(stage)
        for path, layer in list(self.model.named_modules()):
            self._relax_width(path, layer)

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

    def copy_into(self, model: nn.Module, arch: Arch) -> None:
        """Gives a model the weights, so that a subnet of it has those of one architecture here.

        Of the batch norms it takes the architecture's own.

        Args:
            model: What this was made of.
            arch: Of the same space.
        """
        chosen = {name: self._genes[name].choices.index(value)
                  for name, value in arch.choices if name in self._genes}
        own = dict(self.named_modules())
        with torch.no_grad():
            for path, layer in model.named_modules():
                found = own[f"model.{path}"] if path else None
                if isinstance(found, WidthNorm):
                    found.copy_into(layer, chosen.get(found.gene, -1))
                elif isinstance(found, NarrowConv | NarrowLinear):
                    layer.load_state_dict(found.layer.state_dict())
                elif found is not None and not list(layer.children()):
                    layer.load_state_dict(found.state_dict())

    def _relax_depth(self, stage: StageFacts) -> None:
        gene = self._genes.get(depth_gene(stage))
        if gene is None:
            return
        order, count = list(self.elastic.order(stage)), len(stage.blocks)
        least = min(int(depth) for depth in gene.choices)
        if order[:count - least] != list(range(count - 1, least - 1, -1)):
            raise InputError(f"the blocks of {stage.name} do not go from its end; a relaxed "
                             "network needs them to")
        parent = stage.blocks[0].path.rpartition(".")[0]
        _replace(self.model, parent, DepthMixture(
            self.model.get_submodule(parent), gene.name, [int(d) for d in gene.choices],
            self._now))

    def _relax_width(self, path: str, layer: nn.Module) -> None:
        layout = self.elastic.facts.layout
        axes = layout.axes.get(f"{path}.weight")
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            axis = axes[0] if axes is not None else None
            gene = None if axis is None else self._genes.get(axis.dim)
            if axis is not None and gene is not None:
                _replace(self.model, path, WidthNorm(
                    layer, gene, _entries(layout, axis, gene), self._now))
        elif isinstance(layer, nn.Conv2d | nn.Linear) and axes is not None:
            axis = axes[0]
            gene = None if axis is None else self._genes.get(axis.dim)
            widths = [] if axis is None or gene is None else _entries(layout, axis, gene)
            name = None if gene is None else gene.name
            _replace(self.model, path, NarrowConv(layer, name, widths, self._now)
                     if isinstance(layer, nn.Conv2d)
                     else NarrowLinear(layer, name, widths, self._now))


class NarrowConv(nn.Module):
    """A convolution of as many input channels as it is given, and as many outputs as are drawn."""

    def __init__(self, layer: nn.Conv2d, gene: str | None, widths: Sequence[int],
                 now: _Now) -> None:
        super().__init__()
        self.layer, self.gene, self._widths, self._now = layer, gene, widths, now

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, larger width, H', W')."""
        layer = self.layer
        out = _width(self.gene, self._widths, self._now, layer.out_channels)
        each = layer.out_channels // layer.groups
        groups = 1 if layer.groups == 1 else out // each
        weight = layer.weight[:out, :x_BCHW.shape[1]] if groups == 1 else layer.weight[:out]
        bias = None if layer.bias is None else layer.bias[:out]
        padding = layer.padding
        if isinstance(layer, Conv2dSame):
            x_BCHW = pad_same(x_BCHW, list(layer.kernel_size), list(layer.stride),
                              list(layer.dilation))
            padding = (0, 0)
        return F.conv2d(x_BCHW, weight, bias, layer.stride, padding, layer.dilation, groups)


class NarrowLinear(nn.Module):
    """A linear layer of as many input features as it is given; as `NarrowConv`."""

    def __init__(self, layer: nn.Linear, gene: str | None, widths: Sequence[int],
                 now: _Now) -> None:
        super().__init__()
        self.layer, self.gene, self._widths, self._now = layer, gene, widths, now

    def forward(self, x_BC: Tensor) -> Tensor:
        """Returns (B, larger width)."""
        out = _width(self.gene, self._widths, self._now, self.layer.out_features)
        bias = None if self.layer.bias is None else self.layer.bias[:out]
        return F.linear(x_BC, self.layer.weight[:out, :x_BC.shape[-1]], bias)


class WidthNorm(nn.Module):
    """A batch norm for each width; the two that are drawn are interpolated, weighted and added.

    In training all widths have the same statistics of the channels that they share, so these are
    computed once. What follows, two scalings, an interpolation and a sum, is one map of channels.

    Args:
        norm: Of all channels; timm's may have an activation, which comes behind the sum.
        gene: Of the width.
        widths: Its channels for each choice.
        now: The draws.
    """

    def __init__(self, norm: Any, gene: Gene, widths: Sequence[int], now: _Now) -> None:
        super().__init__()
        self.gene, self._widths, self._now = gene.name, widths, now
        self.norms = nn.ModuleList(_leading_norm(norm, width) for width in widths)
        self.drop, self.act = getattr(norm, "drop", None), getattr(norm, "act", None)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, larger width, H, W)."""
        draw = self._now.of(self.gene)
        drawn = [(cast(nn.BatchNorm2d, self.norms[position]), weight)
                 for position, weight in zip(draw.positions, draw.weights, strict=True)]
        x_BCHW = self._in_training(x_BCHW, drawn) if self.training else _mixed(
            x_BCHW, [(norm, weight, norm) for norm, weight in drawn])
        for layer in (self.drop, self.act):
            if layer is not None:
                x_BCHW = layer(x_BCHW)
        return x_BCHW

    def copy_into(self, norm: Any, position: int) -> None:
        """Gives a batch norm of all channels the numbers of one width, where they reach."""
        own: Any = self.norms[position]
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name)[:self._widths[position]].copy_(getattr(own, name))

    def _in_training(self, x_BCHW: Tensor, drawn: Sequence[tuple[nn.BatchNorm2d, Tensor]]
                     ) -> Tensor:
        normed, mean, scale = torch.native_batch_norm(
            x_BCHW, None, None, None, None, True, 0.0, drawn[0][0].eps)
        for norm, _ in drawn:
            _remember(norm, mean, scale, x_BCHW.numel() // x_BCHW.shape[1])
        if x_BCHW.shape[1] > WIDEST_MAP:
            return _mixed(normed, [(norm, weight, _affine(norm)) for norm, weight in drawn])
        channels = x_BCHW.shape[1]
        matrix, bias = normed.new_zeros(channels, channels), normed.new_zeros(channels)
        for norm, weight in drawn:
            # The interpolation of a diagonal matrix: columns are the input's channels.
            diagonal = torch.diag_embed(torch.ones_like(norm.weight.detach()))
            spread = interpolated(diagonal[None, :, :, None], channels)[0, :, :, 0]
            matrix = matrix + weight * F.pad(spread * norm.weight, (
                0, channels - norm.num_features))
            bias = bias + weight * (spread @ norm.bias)
        return F.conv2d(normed, matrix[:, :, None, None], bias)


class DepthMixture(nn.Module):
    """A stage: the weighted sum of its outputs after each number of blocks that it may have."""

    def __init__(self, blocks: nn.Module, gene: str, depths: Sequence[int], now: _Now) -> None:
        super().__init__()
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self._gene, self._depths, self._now = gene, depths, now

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns the outputs interpolated to the widest, weighted and added."""
        outputs = []
        for number, block in enumerate(self.children(), start=1):
            x_BCHW = block(x_BCHW)
            if number in self._depths:
                outputs.append(x_BCHW)
        widest = max(output.shape[1] for output in outputs)
        weights = self._now.of(self._gene).weights
        return torch.stack([weight * interpolated(output, widest) for weight, output in
                            zip(weights, outputs, strict=True)]).sum(0)


def _width(gene: str | None, widths: Sequence[int], now: _Now, full: int) -> int:
    if gene is None:
        return full
    return max(widths[position] for position in now.of(gene).positions)


def _entries(layout: Layout, axis: Axis, gene: Gene) -> list[int]:
    step = layout.dims[axis.dim].step
    return [axis.entries(int(value) // step) for value in gene.choices]


def _mixed(x_BCHW: Tensor, parts: Sequence[tuple[nn.BatchNorm2d, Tensor,
                                                 Callable[[Tensor], Tensor]]]) -> Tensor:
    larger = max(norm.num_features for norm, _, _ in parts)
    return torch.stack([weight * interpolated(layer(x_BCHW[:, :norm.num_features]), larger)
                        for norm, weight, layer in parts]).sum(0)


def _affine(norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    return lambda x: x * norm.weight[:, None, None] + norm.bias[:, None, None]


def _remember(norm: Any, mean: Tensor, scale: Tensor, count: int) -> None:
    # As torch's batch norms do it: the variance is that of a sample.
    with torch.no_grad():
        width, share = norm.num_features, norm.momentum
        variance = (scale[:width].square().reciprocal() - norm.eps) * count / max(1, count - 1)
        norm.running_mean.lerp_(mean[:width], share)
        norm.running_var.lerp_(variance, share)
        norm.num_batches_tracked += 1


def _leading_norm(norm: Any, width: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(width, eps=norm.eps, momentum=norm.momentum)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(made, name).copy_(getattr(norm, name)[:width])
    return made.to(norm.weight.device)


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
