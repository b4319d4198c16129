"""What matters most comes first: channels and heads are sorted, and blocks ranked for dropping.

The whole model computes the same afterwards. A subnet keeps leading units, so it keeps the most
important ones.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.timm.families import ModelFacts, StageFacts
from supernets.timm.layout import Axis, Layout, tensors_of


@dataclass(frozen=True, slots=True)
class Importance:
    """How much each unit and each droppable block matters; larger is more.

    Attributes:
        units: Width → (units,).
        blocks: Path of a droppable block → its share of what the stage does.
    """

    units: Mapping[str, Tensor]
    blocks: Mapping[str, float]


def by_magnitude(model: nn.Module, facts: ModelFacts) -> Importance:
    """Judges by weights alone.

    A unit counts as the mean over its width's weights of its norm, relative to the mean unit's
    (group norm; Fang et al., DepGraph, arXiv 2301.12900, section 3.3); a block as the root mean
    square of what scales its output: the last norm or layer scale, else its last weights.
    """
    squares = {name: tensor.detach().double().square()
               for name, tensor in model.named_parameters() if tensor.ndim > 1}
    return Importance(_relative_norms(squares, facts),
                      {path: _scale_of(model, path) for path in _droppable(facts)})


def by_taylor(model: nn.Module, facts: ModelFacts, losses: Iterable[Tensor]) -> Importance:
    """Judges by the change of the loss that removal makes, to first order.

    The absolute value of the sum of weight times gradient over all that is removed, summed over
    batches (Molchanov et al., arXiv 1906.10771, section 3.1, on groups).

    Args:
        model: Its gradients are cleared.
        facts: Of the model.
        losses: One a batch, computed by the model as they are asked for.

    Raises:
        InputError: There is no batch.
    """
    units: dict[str, Tensor] = {}
    blocks: dict[str, float] = {}
    for loss in losses:
        model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        changes = {name: (tensor.detach() * tensor.grad).double()
                   for name, tensor in model.named_parameters() if tensor.grad is not None}
        for dim, parts in _split(changes, facts).items():
            units[dim] = units.get(dim, torch.zeros(())) + torch.stack(parts).sum(0).abs()
        for path in _droppable(facts):
            total = sum(change.sum() for name, change in changes.items()
                        if name.startswith(f"{path}."))
            blocks[path] = blocks.get(path, 0.0) + abs(float(total))
    model.zero_grad(set_to_none=True)
    if not units:
        raise InputError("importance by gradients needs at least one batch")
    return Importance(units, blocks)


def by_activation(model: nn.Module, facts: ModelFacts, batches: Iterable[Tensor]) -> Importance:
    """Judges by what flows: inputs weighted by the weights that read them.

    A unit counts as the root mean square of its activation times the norm of the weights that read
    it, relative to the mean unit's (Sun et al., Wanda, arXiv 2306.11695, section 3, by unit); a
    block as the mean square of what it adds relative to that of its input.

    Args:
        model: In evaluation mode.
        facts: Of the model.
        batches: Inputs.

    Raises:
        InputError: There is no batch.
    """
    readers = {name.removesuffix(".weight"): axes[1] for name, axes in facts.layout.axes.items()
               if name.endswith(".weight") and len(axes) > 1 and axes[1] is not None
               and isinstance(model.get_submodule(name.removesuffix(".weight")),
                              nn.Linear | nn.Conv2d)}
    energy: dict[str, Tensor] = {}
    added: dict[str, list[float]] = {path: [] for path in _droppable(facts)}

    def read(path: str, args: tuple[Tensor, ...]) -> None:
        x = args[0].detach().double()
        channels = 1 if x.ndim == 4 and isinstance(model.get_submodule(path), nn.Conv2d) else -1
        squares = x.square().movedim(channels, 0).flatten(1).mean(1)
        energy[path] = energy.get(path, torch.zeros(())) + squares

    def ran(path: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        change = (output - args[0]).square().mean() / args[0].square().mean().clamp_min(1e-12)
        added[path].append(float(change))

    with ExitStack() as stack, torch.no_grad():
        for path in readers:
            handle = model.get_submodule(path).register_forward_pre_hook(
                lambda _, args, path=path: read(path, args))
            stack.callback(handle.remove)
        for path in added:
            # A layer behind may write over what a block gave, so it is judged at once.
            handle = model.get_submodule(path).register_forward_hook(
                lambda _, args, output, path=path: ran(path, args, output))
            stack.callback(handle.remove)
        for batch in batches:
            model(batch)
    if not energy:
        raise InputError("importance by activations needs at least one batch")
    weighted = {}
    for path, squares in energy.items():
        weight = model.get_parameter(f"{path}.weight").detach().double().square()
        shape = [1, -1] + [1] * (weight.ndim - 2)
        weighted[f"{path}.weight"] = weight * squares.reshape(shape)
    return Importance(_relative_norms(weighted, facts, only_axis=1),
                      {path: sum(values) for path, values in added.items()})


def sort_units(model: nn.Module, facts: ModelFacts, importance: Importance) -> None:
    """Puts the most important units of each width first, in place; the model computes the same.

    Widths of one stream are sorted alike, by their sum. Widths whose units must stay in order are
    left as they are, and so is a stream that has one of them.
    """
    orders = _orders(facts.layout, importance)
    with torch.no_grad():
        for name, tensor in tensors_of(model):
            for place, axis in enumerate(facts.layout.axes.get(name, ())):
                if axis is not None and axis.dim in orders:
                    rows = _rows(axis, orders[axis.dim]).to(tensor.device)
                    tensor.copy_(tensor.index_select(place, rows))


def drop_order(facts: ModelFacts, importance: Importance) -> dict[str, tuple[int, ...]]:
    """Returns for each stage its droppable positions, the least important one in front.

    A stage whose blocks have widths of their own keeps its order, they go from the end, where
    some of these widths are fixed: what the next block reads would be elastic at some depths only.
    """
    return {stage.name: _least_first(stage, importance) for stage in facts.stages
            if stage.droppable and (stage.out is None or not _has_fixed(facts, stage))}


def _has_fixed(facts: ModelFacts, stage: StageFacts) -> bool:
    widths = [name for block in stage.blocks for name in (block.source, block.target)]
    if stage is facts.stages[0]:
        widths.append(facts.source)
    return any(facts.layout.dims[name].fixed for name in widths if name is not None)


def _orders(layout: Layout, importance: Importance) -> dict[str, Tensor]:
    # Width → its units, the most important one first; without those that stay as they are.
    alike: dict[str, list[str]] = {}
    for name, dim in layout.dims.items():
        alike.setdefault(dim.stream or name, []).append(name)
    orders: dict[str, Tensor] = {}
    for names in alike.values():
        scores = [importance.units[name] for name in names if name in importance.units]
        if scores and not any(layout.dims[name].ordered or layout.dims[name].fixed
                              for name in names):
            order = torch.argsort(torch.stack(scores).sum(0), descending=True, stable=True)
            orders |= dict.fromkeys(names, order)
    return orders


def _least_first(stage: StageFacts, importance: Importance) -> tuple[int, ...]:
    return tuple(sorted(stage.droppable,
                        key=lambda place: (importance.blocks[stage.blocks[place].path], -place)))


def _droppable(facts: ModelFacts) -> list[str]:
    return [stage.blocks[place].path for stage in facts.stages for place in stage.droppable]


def _split(values: Mapping[str, Tensor], facts: ModelFacts, *, only_axis: int | None = None
           ) -> dict[str, list[Tensor]]:
    # Sums each tensor over everything but the units of each of its widths.
    found: dict[str, list[Tensor]] = {}
    for name, tensor in values.items():
        for place, axis in enumerate(facts.layout.axes.get(name, ())):
            if axis is None or only_axis not in (None, place):
                continue
            totals = tensor.movedim(place, 0).flatten(1).sum(1) if tensor.ndim > 1 else tensor
            parts = totals.view(axis.outer, -1, axis.unit)
            found.setdefault(axis.dim, []).append(parts.sum((0, 2)))
    return found


def _relative_norms(squares: Mapping[str, Tensor], facts: ModelFacts, *,
                    only_axis: int | None = None) -> dict[str, Tensor]:
    found = {}
    for dim, parts in _split(squares, facts, only_axis=only_axis).items():
        roots = [part.sqrt() for part in parts]
        found[dim] = torch.stack([root / root.mean().clamp_min(1e-12) for root in roots]).mean(0)
    return found


def _rows(axis: Axis, order: Tensor) -> Tensor:
    units = len(order)
    rows = torch.arange(axis.entries(units)).view(axis.outer, units, axis.unit)
    return rows[:, order.cpu()].flatten()


def _scale_of(model: nn.Module, path: str) -> float:
    scales = [tensor for name, tensor in model.get_submodule(path).named_parameters()
              if tensor.ndim == 1 and not name.endswith("bias")]
    weights = scales or list(model.get_submodule(path).parameters())
    return float(weights[-1].detach().double().square().mean().sqrt())
