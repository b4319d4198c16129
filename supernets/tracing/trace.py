"""From a torch module to its block graph, or to the graphs of what lies between its blocks."""

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from nas.core.blocks import Block, BlockGraph, Shape, keyed
from nas.core.errors import SpaceError
from supernets.tracing.arithmetic import ARITHMETIC
from supernets.tracing.batch import BATCH
from supernets.tracing.layers import LAYERS
from supernets.tracing.movement import MOVEMENT
from supernets.tracing.pools import POOLS
from supernets.tracing.recorder import Recorder

_OPERATORS = {**LAYERS, **POOLS, **ARITHMETIC, **MOVEMENT}


def trace_block(kind: str, module: nn.Module, shape: Shape) -> Block:
    """Returns the operators of a module as a block.

    Args:
        kind: What the block's key begins with.
        module: In evaluation mode, on the meta device; takes one tensor (B, *shape) and gives one.
        shape: Of its input, without the batch.

    Raises:
        SpaceError: The module does not take that shape, has an operator that no rule is known
            for, does nothing, or is not in evaluation mode or not on the meta device.
    """
    graph = trace_segments(module, shape, ())[0]
    if graph is None:
        raise SpaceError(f"{type(module).__name__} has no operator: there is no block to trace")
    return keyed(kind, graph)


def trace_segments(model: nn.Module, shape: Shape,
                   blocks: Sequence[nn.Module]) -> list[BlockGraph | None]:
    """Returns the operators of a model outside its blocks, as len(blocks) + 1 graphs.

    The first leads from the model's input to the first block, the last from the last block to the
    model's output; None where nothing lies between.

    Args:
        model: In evaluation mode, on the meta device; takes one tensor (B, *shape), gives one.
        shape: Of its input, without the batch.
        blocks: Submodules that the model calls once each, in this order, with one tensor.

    Raises:
        SpaceError: As `trace_block`; or a block is not called in its turn, or something but the
            block leads past it.
    """
    _check_ready(model)
    recorder = Recorder(_OPERATORS)
    segments: list[BlockGraph | None] = []
    handles = [handle for position, block in enumerate(blocks)
               for handle in (block.register_forward_pre_hook(_leave(recorder, segments, position)),
                              block.register_forward_hook(_enter(recorder)))]
    try:
        with torch.no_grad():
            x = torch.empty((BATCH, *shape), device="meta")
            recorder.begin(x)
            with recorder:
                output = model(x)
        segments.append(recorder.finish(output))
    except (SpaceError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise SpaceError(f"{_place(model, error)} on inputs {shape}: "
                         f"{' '.join(str(error).split())}") from error
    finally:
        for handle in handles:
            handle.remove()
    if len(segments) <= len(blocks):
        raise SpaceError(f"{type(model).__name__} calls {len(segments) - 1} of its {len(blocks)} "
                         "blocks")
    return segments


def _leave(recorder: Recorder, segments: list[BlockGraph | None],
           position: int) -> Callable[[nn.Module, Any], None]:
    def hook(_: nn.Module, args: Any) -> None:
        if len(segments) != position:
            raise SpaceError(f"block {position} is not called in its turn")
        segments.append(recorder.finish(args[0]))
        recorder.begin(args[0])

    return hook


def _enter(recorder: Recorder) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        recorder.finish(output)  # what the block itself does is traced elsewhere
        recorder.begin(output)

    return hook


def _check_ready(module: nn.Module) -> None:
    if module.training:
        raise SpaceError(f"{type(module).__name__} is in training mode; call eval() to trace it")
    for name, parameter in module.named_parameters():
        if not parameter.is_meta:
            raise SpaceError(f"{type(module).__name__}: {name} is on {parameter.device}; a module "
                             'is traced on the meta device: module.to("meta")')


def _place(model: nn.Module, error: Exception) -> str:
    # The innermost module whose method is on the way to the error.
    names = {id(module): name for name, module in model.named_modules()}
    place = ("", model)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in names:
            place = (names[id(module)], module)
    name, module = place
    return f"{type(module).__name__}{f' ({name})' if name else ''}"
