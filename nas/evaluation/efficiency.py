"""Costs counted on a plain module: what the closed forms of `nas.core.costs` must agree with.

One multiply-add is 1 MAC. All counts are of one inference: batch 1, evaluation mode.
"""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from nas.core.costs import peak_live_bytes
from nas.core.errors import EvaluationError

# ATen operators that compute a tensor → the kind that `nas.core.blocks` knows them as. Which kinds
# may overwrite their input is said there.
_KINDS = {
    "aten.conv1d.default": "conv1d",
    "aten.conv2d.default": "conv2d",
    "aten.linear.default": "linear",
    "aten.batch_norm.default": "batch_norm",
    "aten.relu.default": "relu",
    "aten.relu_.default": "relu",
    "aten.hardswish.default": "hard_swish",
    "aten.hardswish_.default": "hard_swish",
    "aten.silu.default": "silu",
    "aten.silu_.default": "silu",
    "aten.sigmoid.default": "sigmoid",
    "aten.sigmoid_.default": "sigmoid",
    "aten.gelu.default": "gelu",
    "aten.layer_norm.default": "layer_norm",
    "aten.mean.dim": "global_avg_pool",
    "aten.adaptive_avg_pool2d.default": "global_avg_pool",
    "aten.flatten.using_ints": "flatten",
    "aten.mul.Tensor": "mul",
    "aten.add.Tensor": "add",
}

# Operators that give their input another name or shape and make no tensor.
_ALIASES = {
    "aten.view.default", "aten.reshape.default", "aten.squeeze.dims", "aten.squeeze.dim",
    "aten.unsqueeze.default", "aten.permute.default", "aten.transpose.int", "aten.chunk.default",
    "aten.split.Tensor", "aten.dropout.default", "aten.alias.default", "aten.detach.default",
    "aten.unflatten.int", "aten.slice.Tensor",
}

_ATTENTION = "aten.scaled_dot_product_attention.default"
_FOLDED = {"aten._weight_norm.default"}  # of parameters alone

_PRODUCTS = (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)
_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NO_MACS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, ParametrizationList)


def count_params(module: nn.Module) -> int:
    """Returns the number of trainable numbers; a tensor that is used twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, example_input: Tensor) -> int:
    """Returns the multiply-adds of one inference.

    They are those of Conv1d, Conv2d and Linear modules, products of two tensors, and attention.

    Args:
        module: Comes back in the mode that it was in.
        example_input: ≥1 inputs; the first is run.

    Raises:
        EvaluationError: A module that runs with parameters of its own is neither one of the three
            nor a norm, so that its multiply-adds would go uncounted.
    """
    total = 0
    layers, others = _layers(module)
    watch = _Products(others)

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        # Each output element is a dot product with one row of the weight; dense layers on a
        # sequence and grouped convolutions included.
        total += output.numel() * cast(Tensor, layer.weight)[0].numel()

    with _evaluating(module), torch.no_grad():
        handles = [layer.register_forward_hook(count) for layer in layers]
        try:
            with watch:
                module(example_input[:1])
        finally:
            for handle in handles:
                handle.remove()
    return total + watch.macs


def count_activation_bytes(module: nn.Module, example_input: Tensor) -> int:
    """Returns the largest live set of activations in bytes, in fp32, by the rule of `nas.core`.

    The module is exported, and its operators are taken in the order in which it runs them; see
    `nas.core.costs.activation_bytes` for what counts as alive.

    Args:
        module: Comes back in the mode that it was in.
        example_input: ≥1 inputs; the first one's shape is used.

    Raises:
        EvaluationError: The network has an operator that no rule is known for.
    """
    with _evaluating(module):
        program = torch.export.export(module, (example_input[:1],))
    inputs = set(program.graph_signature.user_inputs)
    # Graph name → the tensor that it stands for; weights are not in it.
    tensors = {name: name for name in program.graph_signature.user_inputs if isinstance(name, str)}
    sizes: list[tuple[str, int]] = []
    rows: list[tuple[str, list[str], str, int]] = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            sizes.append((node.name, node.meta["val"].numel()))
        elif node.op == "call_function":
            _add_row(node, tensors, rows)
    return peak_live_bytes(sizes, rows)


def _add_row(node: fx.Node, tensors: dict[str, str],
             rows: list[tuple[str, list[str], str, int]]) -> None:
    name = str(node.target)
    sources = [tensors[source.name] for source in node.all_input_nodes if source.name in tensors]
    if sources and (name in _ALIASES or node.target is operator.getitem):
        tensors[node.name] = sources[0]
        return
    if name in _FOLDED and not sources:
        return
    if name == _ATTENTION:
        _add_attention(node, tensors, rows)
        return
    if name not in _KINDS or not sources:
        raise EvaluationError(f"activation memory of operator {name} is not defined; add it to "
                              "the table of nas.evaluation.efficiency")
    rows.append((_KINDS[name], sources, node.name, node.meta["val"].numel()))
    tensors[node.name] = node.name
    if name.split(".")[1].endswith("_"):
        # Whoever reads the overwritten input later reads this output.
        for alias in [key for key, tensor in tensors.items() if tensor == sources[0]]:
            tensors[alias] = node.name


def _add_attention(node: fx.Node, tensors: dict[str, str],
                   rows: list[tuple[str, list[str], str, int]]) -> None:
    # What it is made of, as the blocks of a space have it: see supernets.tracing.
    operands = [cast(fx.Node, operand) for operand in node.args[:3]]
    query, key, value = (tensors[operand.name] for operand in operands)
    shape, keys = operands[0].meta["val"].shape, operands[1].meta["val"].shape[-2]
    scaled, scores, shares = (f"{node.name}:{part}" for part in ("scaled", "scores", "shares"))
    many = math.prod(shape[:-1]) * keys
    rows += [("mul_scalar", [query], scaled, math.prod(shape)),
             ("matmul", [scaled, key], scores, many), ("softmax", [scores], shares, many),
             ("matmul", [shares, value], node.name, node.meta["val"].numel())]
    tensors[node.name] = node.name


class _Products(TorchFunctionMode):
    """Counts products of tensors while a network runs, and refuses parameters that it uses.

    Args:
        refused: By id of the parameter, the module that it belongs to.
    """

    def __init__(self, refused: Mapping[int, str]) -> None:
        super().__init__()
        self.macs = 0
        self._refused = refused

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if id(value) in self._refused:
                raise EvaluationError(f"multiply-adds of module {self._refused[id(value)]} are not "
                                      "defined; add it to the table of nas.evaluation.efficiency")
        output = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            query, key = args[:2]
            self.macs += query[..., 0].numel() * key.shape[-2] * query.shape[-1]
            self.macs += output.numel() * key.shape[-2]
        elif func in _PRODUCTS:
            self.macs += output.numel() * args[0].shape[-1]
        return output


def _layers(module: nn.Module) -> tuple[list[nn.Module], dict[int, str]]:
    # Those that are counted, and by id the parameters of those that nothing is known of.
    layers: list[nn.Module] = []
    others: dict[int, str] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, _COUNTED):
            layers.append(layer)
        elif not isinstance(layer, _NO_MACS):
            for parameter in layer.parameters(recurse=False):
                others[id(parameter)] = f"{name or 'itself'!r} ({type(layer).__name__})"
    return layers, others


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
