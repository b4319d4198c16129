"""A network whose widths and depths are drawn at every step, two widths of each at once.

Legend: B batch, C channels of the whole network, H and W sides.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene
from supernets.tas.relaxed_layers import DepthMixture, Draws, Now, WidthMask, WidthNorm
from supernets.timm.cifar_resnet import FitChannels
from supernets.timm.elastic import Elastic, depth_gene
from supernets.timm.families import StageFacts
from supernets.timm.layout import Axis, Layout


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
        self._now = Now()
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
        norms = (layer for layer in self.model.modules() if isinstance(layer, WidthNorm))
        with self._now.drawn(draws, norms):
            return self.model(x_BCHW)

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


def _entries(layout: Layout, axis: Axis, gene: Gene) -> list[int]:
    step = layout.dims[axis.dim].step
    return [axis.entries(int(value) // step) for value in gene.choices]


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
