"""A timm model as a supernet: one set of weights for every subnet of it.

Legend: B batch, C channels, H and W image sides.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.protocols import Batch, Task
from nas.core.types import IntArray
from nas.core.vocabulary import Vocabulary
from supernets.calibrate import recalibrate
from supernets.timm.elastic import Elastic, Subnet
from supernets.timm.layer_groups import free_of_decay, layer_matcher
from supernets.timm.layout import tensors_of
from supernets.timm.resolution import NETWORK, AtResolution
from supernets.timm.skeleton import filled, narrowed
from supernets.timm.vocabulary import build_vocabulary
from supernets.timm.weights import KernelMaps, tensors

_SKELETONS_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Skeleton:
    subnet: Subnet
    module: nn.Module
    names: Mapping[str, str]


class TimmSupernet(nn.Module):
    """The subnets of a stock timm model.

    The module holds weights only: which subnet runs is an argument of each call. A subnet is a
    skeleton, the model's own classes on the meta device with smaller layers and fewer blocks, that
    is run on views of the weights (`torch.func.functional_call`) and that extraction fills with
    copies of them. So both compute the same, and the whole architecture is the model itself.

    In training mode batch norms use the statistics of the batch and write none.

    Args:
        model: A timm model; it is kept, not copied.
        elastic: Its space.
        task: What its inputs, loss and quality are.
    """

    def __init__(self, model: nn.Module, elastic: Elastic, task: Task) -> None:
        super().__init__()
        self.model = model
        self.elastic = elastic
        self.task = task
        self.space = elastic.space
        self.kernel_maps = KernelMaps(elastic.kernels.values())
        self._skeletons: OrderedDict[Arch, _Skeleton] = OrderedDict()

    def forward(self, x_BCHW: Tensor, arch: Arch) -> Any:
        """Returns the output of one architecture, as the model itself gives it: logits.

        Raises:
            ArchError: An architecture of another space.
        """
        skeleton = self._skeleton(arch)
        if skeleton.module.training != self.training:
            skeleton.module.train(self.training)
        return functional_call(skeleton.module, self._tensors(skeleton), (x_BCHW,))

    def extract(self, arch: Arch) -> nn.Module:
        """Returns the architecture as a module of timm's own classes that owns its weights.

        One that works on smaller images than it is given is within an `AtResolution`.

        The mode (training or evaluation) and device are those of the supernet.

        Raises:
            ArchError: An architecture of another space.
        """
        skeleton = self._skeleton(arch)
        module = filled(skeleton.module, self._tensors(skeleton))
        _track_statistics(module, track=True)
        return module.train(self.training)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        """Returns the extracted network with batch-norm statistics measured on the batches."""
        return recalibrate(self.extract(arch), batches)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Returns which layer a weight is of, for learning rates that fall towards the input."""
        return layer_matcher(self.model, coarse=coarse)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of weights that timm exempts from weight decay."""
        return free_of_decay(self.model)

    @property
    def vocabulary(self) -> Sequence[Block]:
        """Every distinct block of the space, in fixed order."""
        return self.slots.blocks

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the vocabulary id in each slot, (N, slots), −1 where there is no block."""
        return self.slots.block_ids(codes)

    @cached_property
    def slots(self) -> Vocabulary:
        """The blocks and which genes decide what stands where."""
        shape = tuple(self.task.example_inputs(1, np.random.default_rng(0)).shape[1:])
        return build_vocabulary(self.meta, self.elastic, shape)

    @cached_property
    def meta(self) -> nn.Module:
        """The model on the meta device, in evaluation mode: shapes without numbers."""
        return copy.deepcopy(self.model).to("meta").eval()

    def _tensors(self, skeleton: _Skeleton) -> dict[str, Tensor]:
        return tensors(dict(tensors_of(self.model)), skeleton.names, self.elastic.facts.layout,
                       skeleton.subnet, self.kernel_maps)

    def _skeleton(self, arch: Arch) -> _Skeleton:
        found = self._skeletons.get(arch)
        if found is None:
            subnet = self.elastic.subnet(arch)
            module, names = narrowed(self.meta, self.elastic.facts.layout, subnet)
            if subnet.side is not None:
                module = AtResolution(module, subnet.side)
                names = {f"{NETWORK}.{name}": original for name, original in names.items()}
            _track_statistics(module, track=False)
            found = self._skeletons[arch] = _Skeleton(subnet, module, names)
            if len(self._skeletons) > _SKELETONS_KEPT:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(arch)  # the ends of a sandwich are asked for at every step
        return found


def _track_statistics(module: nn.Module, *, track: bool) -> None:
    # Without it batch norms in training read and write no buffers; in evaluation they read them.
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.track_running_stats = track
