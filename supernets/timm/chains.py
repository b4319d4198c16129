"""Layers that stand one after the other: their tensors' axes, from the widths at both ends."""

from collections.abc import Iterable, Iterator
from typing import Any

from timm.layers.blur_pool import BlurPool2d
from timm.layers.eca import EcaModule
from timm.layers.global_context import GlobalContext
from timm.layers.squeeze_excite import EffectiveSEModule, SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from supernets.timm.layout import Axis, Layout

_SQUEEZE = {SEModule: ("fc1", "fc2"), SqueezeExcite: ("conv_reduce", "conv_expand"),
            EffectiveSEModule: ("fc", "fc")}
_ATTENTION = (EcaModule, GlobalContext)


def chain(layout: Layout, model: nn.Module, paths: Iterable[str], source: str | None,
          target: str | None) -> None:
    """Assigns the axes of layers that lead from one width to another.

    The last dense convolution or linear layer gives the target; those before it keep the width
    that they have. What is not understood fixes the width that it works on.

    Args:
        layout: Is added to.
        model: The layers' model.
        paths: Of the layers, in order; one that the model lacks is passed over.
        source: Width of the first layer's input; None: it is no elastic one.
        target: Width of the output.
    """
    layers = [layer for path in paths for layer in _layers(model, path)]
    changing = [path for path, layer in layers if _changes_width(layer)]
    width = source
    for path, layer in layers:
        if _changes_width(layer):
            out = target if path == changing[-1] else None
            _dense(layout, path, layer, width, out)
            width = out
        elif isinstance(layer, nn.Conv2d) and layer.in_channels != layer.out_channels:
            layout.fix(width)
            width = None
        elif width is not None:
            _keeping(layout, path, layer, width)
    if width != target:
        layout.fix(target)


def _layers(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        return
    if (isinstance(layer, nn.Conv2d | nn.Linear | BlurPool2d) or _is_norm(layer)
            or _is_attention(layer) or not any(layer.children())):
        yield path, layer
    else:
        for name, _ in layer.named_children():
            yield from _layers(model, f"{path}.{name}")


def _is_norm(layer: nn.Module) -> bool:
    # timm's may have an activation as a child.
    return isinstance(layer, nn.BatchNorm2d | nn.GroupNorm) or hasattr(layer, "normalized_shape")


def _is_attention(layer: nn.Module) -> bool:
    # Over channels or images: its own layers do not stand one after the other.
    return isinstance(layer, _ATTENTION) or type(layer) in _SQUEEZE


def _changes_width(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _dense(layout: Layout, path: str, layer: Any, source: str | None, target: str | None
           ) -> None:
    if source is not None and layer.weight.shape[1] != _axis(layout, source).entries(
            layout.dims[source].units):
        layout.fix(source)  # pools of other kinds are joined in front of it
        source = None
    out, into = (None if dim is None else _axis(layout, dim) for dim in (target, source))
    square = (None, None) if isinstance(layer, nn.Conv2d) else ()
    layout.assign(f"{path}.weight", out, into, *square)
    if layer.bias is not None:
        layout.assign(f"{path}.bias", out)


def _keeping(layout: Layout, path: str, layer: nn.Module, width: str) -> None:
    axis = _axis(layout, width)
    if type(layer) in _SQUEEZE:
        first, last = _SQUEEZE[type(layer)]
        layout.assign(f"{path}.{first}.weight", None, axis, None, None)
        both = axis if first == last else None
        layout.assign(f"{path}.{last}.weight", axis, both, None, None)
        layout.assign(f"{path}.{last}.bias", axis)
        return
    if isinstance(layer, EcaModule):
        layout.dims[width].ordered = True
        return
    if isinstance(layer, nn.Conv2d) and layer.out_channels // layer.groups != axis.unit:
        layout.fix(width)
        return
    if isinstance(layer, nn.GroupNorm) and layer.num_groups > 1:
        layout.fix(width)  # its channels depend on their group's others
        return
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor.ndim == 0 or (isinstance(layer, BlurPool2d) and tensor.shape[0] == 1):
            continue
        if tensor.shape[0] == axis.entries(layout.dims[width].units) and _per_unit(layer, tensor):
            layout.assign(f"{path}.{name}", axis, *[None] * (tensor.ndim - 1))
        else:
            layout.fix(width)


def _per_unit(layer: nn.Module, tensor: object) -> bool:
    # Grouped convolutions keep whole groups, and everything else must be one number a channel.
    return isinstance(layer, nn.Conv2d | BlurPool2d) or getattr(tensor, "ndim", 0) == 1


def _axis(layout: Layout, dim: str) -> Axis:
    return Axis(dim, unit=layout.dims[dim].step)
