"""Generation scale by scale, with key-value caches in place of recomputation.

Legend: R rows (images, twice where they are guided), T tokens of a scale, E channels of a code, C
width, V codes.
"""

import torch
from torch import Tensor

from nas.core.arch import Arch
from nas.core.errors import ArchError, InputError
from supernets.var.cache import KeyValueCache
from supernets.var.supernet import VarSupernet


class CachedDecoder:
    """One batch of images in the making; the net itself is never written to.

    Args:
        net: The transformer.
        labels_R: The class of each row; `VarConfig.classes` for none.
        arch: The subnet.
        key_dtype: Of stored keys; None: that of the weights.
        value_dtype: Of stored values; None: that of the weights.
        freed: Whether layers that no later scale runs give up their caches, which changes no
            logit.

    Raises:
        ArchError: An architecture of another space.
        InputError: Labels that are no classes, or a cache of integers.
    """

    @torch.no_grad()
    def __init__(self, net: VarSupernet, labels_R: Tensor, arch: Arch, *,
                 key_dtype: torch.dtype | None = None, value_dtype: torch.dtype | None = None,
                 freed: bool = True) -> None:
        net.check_labels(labels_R)
        plan = net.plan(arch)
        weights = net.pos_1LC
        dtypes = [dtype or weights.dtype for dtype in (key_dtype, value_dtype)]
        for dtype in dtypes:
            if not dtype.is_floating_point:
                raise InputError(f"caches of {dtype} cannot hold keys or values; give a "
                                 "floating-point type")
        self._net, self._layers, self._scale = net, plan.layers, 0
        self._cache = KeyValueCache(
            plan, rows=len(labels_R), heads=net.config.heads, head_dim=net.config.head_dim,
            key_dtype=dtypes[0], value_dtype=dtypes[1],
            device=weights.device, freed=freed)
        self._class_RC = net.class_emb(labels_R)
        self._conditioning = net.shared_ada_lin(self._class_RC)

    @property
    def scale(self) -> int:
        """The scale that the next step makes, from 0."""
        return self._scale

    @property
    def kv_bytes(self) -> int:
        """Bytes that the caches have allocated: `memory.kv_bytes`."""
        return self._cache.nbytes

    @torch.no_grad()
    def step(self, inputs_RTE: Tensor | None = None) -> Tensor:
        """Returns the logits of the next scale, (R, T, V), in single precision.

        Args:
            inputs_RTE: `MultiScaleQuantizer.scale_input` of the scales before; None at the first.

        Raises:
            InputError: The image is complete, or inputs that do not fit the scale.
        """
        net, scale = self._net, self._scale
        self._check(inputs_RTE)
        if inputs_RTE is None:
            nothing = self._class_RC.new_zeros(len(self._class_RC), 0, net.config.code_dim)
            x_RTC = net.embedded(self._class_RC, nothing)
        else:
            x_RTC = net.scale_embedded(inputs_RTE, scale)
        self._cache.begin(scale)
        for layer in self._layers[scale]:
            x_RTC = net.blocks[layer](x_RTC, self._conditioning,
                                      remember=self._cache.remember(layer, scale))
        self._scale += 1
        return net.logits(x_RTC, self._class_RC)

    def lower(self, arch: Arch) -> None:
        """Runs fewer layers in the scales to come; caches stay as they are planned.

        Raises:
            ArchError: A scale to come would run a layer that it has not run so far, or an
                architecture of another space.
        """
        layers = self._net.plan(arch).layers
        for scale in range(self._scale, len(layers)):
            added = sorted(set(layers[scale]) - set(self._layers[scale]))
            if added:
                raise ArchError(f"scale {scale + 1} would run layer {added[0]}, which has no keys "
                                "of this image planned: depth cannot rise in mid-image; start a "
                                "new image with this architecture")
        self._layers = self._layers[:self._scale] + layers[self._scale:]

    def _check(self, inputs_RTE: Tensor | None) -> None:
        config, scale = self._net.config, self._scale
        if scale == config.scales:
            raise InputError(f"all {config.scales} scales are made; start a new image")
        shape = (None if scale == 0 else
                 (len(self._class_RC), config.patch_nums[scale]**2, config.code_dim))
        found = None if inputs_RTE is None else tuple(inputs_RTE.shape)
        if found != shape:
            raise InputError(f"scale {scale + 1} reads inputs {shape}, not {found}")
