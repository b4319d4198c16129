"""Layers that are left as they are: the widths that they touch are fixed, and their blocks stay."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from nas.core.errors import InputError
from supernets.timm.families import ModelFacts, StageFacts
from supernets.timm.layout import Layout


def excluding(facts: ModelFacts, patterns: Sequence[str], layers: Sequence[str]) -> ModelFacts:
    """Returns the facts with what some layers need fixed.

    A block up to which a stage has excluded layers stays, and so do those before it: blocks of a
    stage go from its end.

    Args:
        facts: Of the model; its layout is changed.
        patterns: Shell patterns of paths: of layers, or of modules that hold them.
        layers: The paths of all the model's modules.

    Raises:
        InputError: A pattern that no layer matches.
    """
    for pattern in patterns:
        found = [path for path in layers if fnmatchcase(path, pattern)]
        if not found:
            known = ", ".join([block.path for stage in facts.stages for block in stage.blocks][:3])
            raise InputError(f"--exclude {pattern!r} matches no layer of the model; give paths of "
                             f"modules such as {known}, or shell patterns of them")
        touched = _touched(facts, found)
        facts.layout.fix(*touched)
        facts = replace(facts, stages=tuple(_staying(stage, found) for stage in facts.stages))
    source = facts.source
    for stage in facts.stages:
        if stage.out is not None:
            _fix_together(facts.layout, stage, source)
            source = stage.out
    return facts


def _within(path: str, modules: Sequence[str]) -> bool:
    return any(path == module or path.startswith(f"{module}.") for module in modules)


def _touched(facts: ModelFacts, modules: Sequence[str]) -> list[str]:
    return [axis.dim for tensor, axes in facts.layout.axes.items() for axis in axes
            if axis is not None and (_within(tensor.rpartition(".")[0], modules)
                                     or tensor in modules)]


def _staying(stage: StageFacts, modules: Sequence[str]) -> StageFacts:
    held = [place for place, block in enumerate(stage.blocks)
            if any(_within(module, [block.path]) or _within(block.path, [module])
                   for module in modules)]
    last = max(held, default=-1)
    return replace(stage, blocks=tuple(
        replace(block, droppable=block.droppable and place > last)
        for place, block in enumerate(stage.blocks)))


def _fix_together(layout: Layout, stage: StageFacts, source: str) -> None:
    # What a stage of untied blocks passes on is the width of the last one that stays: of those
    # that may be it, all are fixed or none. A block reads what the one in front of it gives.
    first = min(stage.droppable, default=len(stage.blocks))
    targets = [str(block.target) for block in stage.blocks]
    groups = [(str(stage.out), *targets[max(0, first - 1):])]
    groups += [(block.source, given) for block, given in
               zip(stage.blocks, [source, *targets[:-1]], strict=True) if block.source is not None]
    while mixed := [names for names in groups
                    if len({layout.dims[name].fixed for name in names}) > 1]:
        for names in mixed:
            layout.fix(*names)
