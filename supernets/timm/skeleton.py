"""A narrower and shallower copy of a model, without weights: timm's own classes, smaller."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from timm.layers.attention import Attention
from timm.layers.blur_pool import BlurPool2d
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from supernets.timm.elastic import Subnet
from supernets.timm.layout import Layout, tensors_of


def narrowed(module: nn.Module, layout: Layout, subnet: Subnet, *, path: str = ""
             ) -> tuple[nn.Module, dict[str, str]]:
    """Returns a copy of a module on the meta device with the sizes and blocks of a subnet.

    Blocks that are dropped are gone, and those behind them move up.

    Args:
        module: A model on the meta device, or a part of one.
        layout: Of the whole model.
        subnet: What to keep.
        path: Of the module within the model; nothing in it is dropped then.

    Returns:
        The copy, and for each of its tensors the name that the tensor has in the whole model.
    """
    prefix = f"{path}." if path else ""
    copied = _copied(module)
    original = {id(tensor): prefix + name for name, tensor in tensors_of(copied)}
    for conv, side in subnet.kernels.items():
        if conv.startswith(prefix):
            _set_kernel(copied.get_submodule(conv.removeprefix(prefix)), side)
    if not path:
        _drop(copied, subnet.dropped)
    names = {name: original[id(tensor)] for name, tensor in tensors_of(copied)}
    for name, tensor in list(tensors_of(copied)):
        shape = _shape(layout, names[name], tensor, subnet)
        if shape != tuple(tensor.shape):
            put(copied, name, tensor.new_empty(shape))
    for layer in copied.modules():
        _tell(layer)
    return copied, names


def _copied(module: nn.Module) -> nn.Module:
    # New modules around the same tensors, which are replaced and never written to. Training asks
    # for new networks at every step, and a deep copy would cost more than all else here.
    new = module.__new__(type(module))
    new.__dict__ = {name: value.copy() if isinstance(value, dict) else value
                    for name, value in module.__dict__.items()}
    new._modules = {name: child if child is None else _copied(child)
                    for name, child in module._modules.items()}
    return new


def put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replaces a parameter or buffer of a module by a tensor of any shape."""
    owner_path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_path)
    if leaf in owner._parameters:
        old = cast(nn.Parameter, owner._parameters[leaf])
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=old.requires_grad)
    else:
        owner._buffers[leaf] = tensor


def filled(skeleton: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Returns a copy of a skeleton that owns copies of these tensors, by its own names."""
    module = copy.deepcopy(skeleton)
    for name, tensor in tensors.items():
        put(module, name, tensor.detach().clone(memory_format=torch.contiguous_format))
    return module


def _shape(layout: Layout, name: str, tensor: Tensor, subnet: Subnet) -> tuple[int, ...]:
    shape = layout.shape(name, tuple(tensor.shape), subnet.units)
    side = subnet.kernels.get(name.removesuffix(".weight"))
    return shape if side is None or not name.endswith(".weight") else (*shape[:2], side, side)


def _set_kernel(conv: Any, side: int) -> None:
    conv.kernel_size = (side, side)
    if not isinstance(conv, Conv2dSame):  # that one pads by what it needs
        conv.padding = (side // 2, side // 2)


def _drop(model: nn.Module, paths: frozenset[str]) -> None:
    parents: dict[str, set[str]] = {}
    for path in paths:
        parent, _, child = path.rpartition(".")
        parents.setdefault(parent, set()).add(child)
    for parent, children in parents.items():
        # Those that stay take the leading names, by which timm finds a block's layer.
        stage = model.get_submodule(parent)
        kept = [block for name, block in stage.named_children() if name not in children]
        stage._modules = dict(zip(stage._modules, kept, strict=False))


def _tell(layer: Any) -> None:
    # Layers keep their sizes beside their tensors.
    kind = type(layer)
    if issubclass(kind, nn.Conv2d):
        group = layer.in_channels // layer.groups
        if layer.groups > 1:
            layer.groups = layer.weight.shape[0] * layer.groups // layer.out_channels
        layer.out_channels = layer.weight.shape[0]
        layer.in_channels = layer.weight.shape[1] if layer.groups == 1 else group * layer.groups
    elif issubclass(kind, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif issubclass(kind, nn.modules.batchnorm._BatchNorm) and layer.weight is not None:
        layer.num_features = layer.weight.shape[0]
    elif hasattr(layer, "normalized_shape") and layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)
    elif issubclass(kind, Attention):
        layer.attn_dim = layer.proj.weight.shape[1]
        layer.num_heads = layer.attn_dim // layer.head_dim
    elif issubclass(kind, BlurPool2d) and layer.filt.shape[0] > 1:
        layer.channels = layer.filt.shape[0]
