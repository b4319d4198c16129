"""The chosen network, drawn: channels are heights, kernels grids, skips arcs."""

from collections.abc import Sequence

from nas.core.blocks import Shape
from nas.pipeline.reporting.block_facts import BlockFacts, Stage
from nas.pipeline.reporting.markup import Html, joined, tag
from nas.pipeline.reporting.values import percent, shown

WIDTH, HEIGHT = 132.0, 104.0
_AXIS, _REACH = 60.0, 40.0  # where the middle of a block is, and half the height of the widest
_CELL = 5.0


def network_drawing(stages: Sequence[Stage]) -> Html:
    """Returns the stages in the order in which the network runs them."""
    blocks = [block for stage in stages for block in stage.blocks]
    widest = max(max(_source(block), block.middle or 0, _width(block.result)) for block in blocks)
    total_ms = sum(block.latency_ms for block in blocks)
    return tag("ol", *(_stage(stage, widest, total_ms) for stage in stages), class_="stages")


def _stage(stage: Stage, widest: int, total_ms: float) -> Html:
    share = sum(block.latency_ms for block in stage.blocks) / total_ms
    head = tag("div", tag("h3", stage.name), tag("span", _shape(stage.blocks[-1].result)),
               tag("span", f"{percent(share, digits=0)} of the time", class_="share"),
               class_="stage-head")
    bar = tag("div", tag("div", style=f"width:{100 * max(0.0, share):.1f}%"), class_="bar",
              aria_hidden="true")
    blocks = tag("ol", *(_block(block, widest) for block in stage.blocks), class_="blocks")
    return tag("li", head, bar, blocks, class_="stage", style=f"--n:{len(stage.blocks)}")


def _block(block: BlockFacts, widest: int) -> Html:
    facts = [tag("b", _title(block)), tag("span", _channels(block))]
    if len(block.source) == len(block.result) == 3 and block.source[1:] != block.result[1:]:
        facts.append(tag("span", f"{_sides(block.source)} → {_sides(block.result)} px"))
    extras = [name for name, there in (("skip", block.skip), ("squeeze-excite", block.squeeze))
              if there]
    if extras:
        facts.append(tag("span", " · ".join(extras)))
    facts += [tag("span", f"{shown('macs', block.macs)} MACs"),
              tag("span", shown("latency_ms", block.latency_ms))]
    return tag("li", _glyph(block, widest), tag("div", *facts, class_="facts"))


def _width(shape: Shape) -> int:
    # Of a sequence channels come last.
    return shape[-1] if len(shape) == 2 else shape[0]


def _source(block: BlockFacts) -> int:
    # A wave, which is no sequence yet, has one channel.
    return 1 if block.sequence and len(block.source) == 1 else _width(block.source)


def _title(block: BlockFacts) -> str:
    if block.sequence:
        return block.sequence + (f", stride {block.stride}" if block.stride > 1 else "")
    kernel = f"{block.kernel}×{block.kernel}"
    stride = f", stride {block.stride}" if block.stride > 1 else ""
    if block.depthwise:
        expansion = f", ×{block.middle / block.source[0]:.3g}" if block.middle else ""
        return f"{kernel} depthwise{expansion}{stride}"
    return f"{kernel} convolution{stride}{', mean, linear' if block.classifies else ''}"


def _channels(block: BlockFacts) -> str:
    widths = [_source(block), block.middle, _width(block.result)]
    return " → ".join(str(width) for width in widths if width is not None) + " channels"


def _shape(shape: Shape) -> str:
    if len(shape) == 2:
        return f"{shape[0]} steps of {shape[1]} channels"
    return f"{shape[0]} channels, {_sides(shape)} px" if len(shape) == 3 else f"{shape[0]} logits"


def _sides(shape: Shape) -> str:
    return "×".join(map(str, shape[1:]))


def _glyph(block: BlockFacts, widest: int) -> Html:
    """A bow-tie: in → expanded → out, half heights in proportion to channels."""
    def half(channels: int) -> float:
        return max(2.0, _REACH * channels / widest)

    source, result = half(_source(block)), half(_width(block.result))
    parts = []
    if block.middle is None:
        parts.append(_trapezoid(12, 120, source, result, "expand"))
    else:
        middle = half(block.middle)
        parts += [_trapezoid(12, 42, source, middle, "expand"),
                  _trapezoid(44, 88, middle, middle, "deep" if block.depthwise else "expand"),
                  _trapezoid(90, 120, middle, result, "expand")]
        if block.squeeze:
            parts += [tag("circle", cx=105, cy=_AXIS + _REACH - 6, r=11, class_="squeeze"),
                      tag("text", "SE", x=105, y=_AXIS + _REACH - 2, class_="badge mid")]
    if block.kernel > 1:
        parts.append(_kernel(block.kernel))
    if block.skip:
        parts += [tag("path", d=f"M6 {_AXIS:g}V10Q6 6 10 6H122Q126 6 126 10V{_AXIS - 6:g}",
                      class_="skip"),
                  tag("path", d=f"M122 {_AXIS - 8:g}h8l-4 7z", class_="tip")]
    parts.append(tag("path", d=f"M0 {_AXIS:g}H12M120 {_AXIS:g}H132", class_="flow"))
    label = f"{_title(block)}, {_channels(block)}{', skip' if block.skip else ''}" \
            f"{', squeeze-excite' if block.squeeze else ''}"
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=label,
               class_="glyph")


def _trapezoid(left: float, right: float, before: float, after: float, class_: str) -> Html:
    return tag("path", class_=class_, d=f"M{left:g} {_AXIS - before:.1f}L{right:g} "
               f"{_AXIS - after:.1f}V{_AXIS + after:.1f}L{left:g} {_AXIS + before:.1f}Z")


def _kernel(side: int) -> Html:
    """The kernel as a grid of cells, on a plate, however thin the block."""
    left, top = 66 - _CELL * side / 2, _AXIS - _CELL * side / 2
    plate = tag("rect", x=left - 3, y=top - 3, width=_CELL * side + 5, height=_CELL * side + 5,
                rx=3, class_="plate")
    return joined([plate, *(tag("rect", x=left + _CELL * column, y=top + _CELL * row,
                                width=_CELL - 1, height=_CELL - 1, class_="cell")
                            for row in range(side) for column in range(side))])
