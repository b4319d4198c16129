"""The features of `hardware_profiles.features`, counted on any torch module as it runs.

The module runs on the meta device: shapes, no numbers. What depends on parameters alone (a scale
per channel, a table of positions) is folded before a network is deployed and counts nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

# ATen operators → kind of kernel; elements read and written are those of inputs and output.
KINDS = {
    **dict.fromkeys(("hardswish", "hardswish_", "silu", "silu_", "sigmoid", "sigmoid_",
                     "hardsigmoid", "hardsigmoid_", "gelu"), "act"),
    **dict.fromkeys(("mean", "_adaptive_avg_pool2d", "avg_pool2d", "max_pool2d_with_indices"),
                    "pool"),
    **dict.fromkeys(("mul", "mul_", "div", "div_"), "mul"),
    **dict.fromkeys(("add", "add_", "sub"), "add"),
    **dict.fromkeys(("cat", "clone", "_to_copy", "constant_pad_nd"), "copy"),
    "native_layer_norm": "norm", "native_group_norm": "norm", "_softmax": "softmax",
    "convolution": "conv", "addmm": "linear", "mm": "linear", "bmm": "matmul",
}
# Folded into the kernel before them, or no work at all.
FREE = frozenset({
    "relu", "relu_", "hardtanh", "hardtanh_", "native_batch_norm", "cudnn_batch_norm",
    "_native_batch_norm_legit_no_training", "view", "_unsafe_view", "permute", "transpose", "t",
    "expand", "slice", "select", "unsqueeze", "squeeze", "detach", "split", "split_with_sizes",
    "unbind", "alias", "index", "empty",
})
WITH_SECOND_OPERAND = frozenset({"mul", "add"})  # by a constant: folded


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.features: dict[str, float] = {}
        self._constants: dict[int, torch.Tensor] = {}  # keeps them alive: an id is not used twice

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, tuple | list) else result
        tensors = [item for arg in args for item in (arg if isinstance(arg, list) else [arg])
                   if isinstance(item, torch.Tensor)]
        if tensors and all(map(self._constant, tensors)):
            self._constants[id(first)] = first
        else:
            self._count(function._schema.name.partition("::")[2], args, tensors, first)
        return result

    def _constant(self, tensor: torch.Tensor) -> bool:
        return isinstance(tensor, nn.Parameter) or id(tensor) in self._constants

    def _count(self, name: str, args: Any, tensors: list[torch.Tensor], out: torch.Tensor) -> None:
        if name in FREE:
            return
        kind = KINDS[name]
        if kind == "mul" and (len(tensors) < 2 or any(map(self._constant, tensors))):
            return
        if kind == "add" and len(tensors) < 2:
            return
        macs, elems = 0, sum(tensor.numel() for tensor in tensors) + out.numel()
        if kind == "conv":
            source, weight, groups = args[0], args[1], args[8]
            macs = out.numel() * weight[0].numel()
            if groups > 1:
                depthwise = groups == source.shape[1] == weight.shape[0]
                kind = "dw" if depthwise else "group"
            elif weight.shape[2] == 1:
                kind = "pw"
        elif kind in ("linear", "matmul"):
            left = tensors[-2]
            macs = left.numel() * tensors[-1].shape[-1]
        elif kind in ("act", "norm", "softmax"):
            elems = 2 * out.numel()
        for prefix, value in (("kernels", 1), ("macs", macs), ("elems", elems)):
            if value:
                key = f"{prefix}:{kind}"
                self.features[key] = self.features.get(key, 0) + value


def traced_features(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> dict[str, float]:
    """Returns the features of one inference at batch 1.

    Args:
        make: Builds the module.
        shape: (C, H, W) of its input.

    Raises:
        KeyError: An ATen operator that this counter does not know.
    """
    with torch.device("meta"):
        module = make().eval().to("meta")
        x = torch.zeros(1, *shape)
    counter = _Counter()
    with torch.no_grad(), counter:
        module(x)
    return dict(sorted(counter.features.items()))
