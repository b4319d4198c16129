"""What the report knows of one block, and of consecutive ones under a name."""

from dataclasses import dataclass

from nas.core.blocks import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockFacts:
    """One block.

    Attributes:
        kind: The first part of its key, such as ``"ir"``.
        source: (C, H, W), (C,) or, of steps in a sequence, (T, C) of its input.
        result: The same of its output.
        sequence: What it does to a sequence, in short; empty if it is none.
        kernel: Side of its largest kernel.
        middle: Channels of its widest convolution, where neither input nor output has them.
        depthwise: Whether the largest kernel is a depthwise convolution's.
        classifies: Whether it ends in a linear layer.
        stride: Of all its convolutions together.
        skip: Whether its input is added to its output.
        squeeze: Whether it has squeeze-and-excite.
        macs: Multiply-adds.
        params: Trainable numbers.
        latency_ms: Its share of the predicted latency.
    """

    kind: str
    source: Shape
    result: Shape
    kernel: int
    middle: int | None
    depthwise: bool
    classifies: bool
    stride: int
    skip: bool
    squeeze: bool
    macs: int
    params: int
    latency_ms: float
    sequence: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive blocks under one name."""

    name: str
    blocks: tuple[BlockFacts, ...]
