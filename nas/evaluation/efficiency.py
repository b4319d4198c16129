"""Costs counted on a plain module: what the closed forms of `nas.core.costs` must agree with.

One multiply-add is 1 MAC. All counts are of one inference: batch 1, evaluation mode.
"""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

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
}

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NO_MACS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def count_params(module: nn.Module) -> int:
    """Returns the number of trainable numbers; a tensor that is used twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, example_input: Tensor) -> int:
    """Returns the multiply-adds of Conv1d, Conv2d and Linear modules in one inference.

    Args:
        module: Comes back in the mode that it was in.
        example_input: ≥1 inputs; the first is run.

    Raises:
        EvaluationError: A module with parameters of its own is neither one of the three nor a
            norm, so that its multiply-adds would go uncounted.
    """
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        # Each output element is a dot product with one row of the weight; dense layers on a
        # sequence and grouped convolutions included.
        total += output.numel() * cast(Tensor, layer.weight)[0].numel()

    with _evaluating(module), torch.no_grad():
        handles = [layer.register_forward_hook(count) for layer in _counted_layers(module)]
        try:
            module(example_input[:1])
        finally:
            for handle in handles:
                handle.remove()
    return total


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
    if name not in _KINDS or not sources:
        raise EvaluationError(f"activation memory of operator {name} is not defined; add it to "
                              "the table of nas.evaluation.efficiency")
    rows.append((_KINDS[name], sources, node.name, node.meta["val"].numel()))
    tensors[node.name] = node.name
    if name.split(".")[1].endswith("_"):
        # Whoever reads the overwritten input later reads this output.
        for alias in [key for key, tensor in tensors.items() if tensor == sources[0]]:
            tensors[alias] = node.name


def _counted_layers(module: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for name, layer in module.named_modules():
        if isinstance(layer, _COUNTED):
            layers.append(layer)
        elif not isinstance(layer, _NO_MACS) and any(True for _ in layer.parameters(recurse=False)):
            raise EvaluationError(f"multiply-adds of module {name or 'itself'!r} "
                                  f"({type(layer).__name__}) are not defined; add it to the table "
                                  "of nas.evaluation.efficiency")
    return layers


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
