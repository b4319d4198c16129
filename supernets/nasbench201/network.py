"""The networks of NAS-Bench-201: the published skeleton around one cell.

Legend: B batch, C channels, H and W sides; inputs are 32×32 in the benchmark, and multiples of 4.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.types import IntArray
from supernets.nasbench201.graph import (
    CONV_1X1,
    CONV_3X3,
    EDGES,
    NODES,
    NONE,
    POOL,
    reaching_output,
)
from supernets.nasbench201.space import SPACE


def build(arch: Arch, *, rng: np.random.Generator, num_classes: int = 10, channels: int = 16,
          cells: int = 5, in_channels: int = 3, skip_dead: bool = False) -> nn.Module:
    """Returns the untrained network of a cell, in training mode: x_BCHW → logits.

    A 3×3 convolution stem, three stages of equal cells with a residual reduction between two
    (half the sides, twice the channels), normalisation, ReLU, the mean over the pixels and a
    linear classifier (Dong & Yang 2020, section 2.1, and the published code). Each ReLU is a
    module of its own. ``none`` is not computed; a node without other input is the cell's input
    times 0, so that gradients of what lies before are 0 and not absent.

    On a processor, training steps are 1.2 to 3 times as fast with the network and its images in
    ``torch.channels_last``, most where the cell pools; see `Module.to`.

    Args:
        arch: Of `SPACE`.
        rng: Draws PyTorch's default initialisation; the global generator is left as it is.
        num_classes: Length of the logits.
        channels: Of the first stage.
        cells: In each stage.
        in_channels: Of the input.
        skip_dead: Whether operations that cannot reach the output are left out of the forward
            pass. Outputs and gradients stay the same to the bit, and so do the parameters: those
            of such operations get no gradient in any case. What hooks see differs, and so do the
            running statistics of these operations. The published code computes them.

    Raises:
        ArchError: An architecture of another space.
        InputError: A count below 1.
    """
    for name, count in (("num_classes", num_classes), ("channels", channels), ("cells", cells),
                        ("in_channels", in_channels)):
        if count < 1:
            raise InputError(f"{name} is {count}; it must be at least 1")
    code = SPACE.encode([arch])[0]
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds the generators of other devices too.
        torch.default_generator.manual_seed(int(rng.integers(2**63 - 1)))
        layers = [("stem", _stem(in_channels, channels))]
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                layers.append((f"reduction{stage}", ResidualReduction(width // 2, width)))
            layers.append((f"stage{stage}", nn.Sequential(
                *(Cell(code, width, skip_dead=skip_dead) for _ in range(cells)))))
        layers.append(("head", _head(width, num_classes)))
    return nn.Sequential(OrderedDict(layers))


class Cell(nn.Module):
    """One cell: four nodes, each the sum of its edges' operations; x_BCHW → the same shape."""

    def __init__(self, code: IntArray, channels: int, *, skip_dead: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({
            _name(target, source): _operation(int(operation), channels)
            for operation, (target, source) in zip(code, EDGES, strict=True) if operation != NONE})
        needed = reaching_output(code[None])[0]
        # Each node to compute, with its incoming edges: (node, ((source, edge), …)).
        self._plan = tuple(
            (node, tuple((source, _name(node, source)) for target, source in EDGES
                         if target == node and _name(node, source) in self.edges))
            for node in range(1, NODES) if needed[node] or not skip_dead)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        nodes = {0: x_BCHW}
        for node, incoming in self._plan:
            terms: list[Tensor] = [self.edges[edge](nodes[source]) for source, edge in incoming]
            nodes[node] = sum(terms[1:], start=terms[0]) if terms else x_BCHW * 0.0
        return nodes[NODES - 1]


class ResidualReduction(nn.Module):
    """A residual block of two 3×3 convolutions: half the sides, from `inputs` to `outputs`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = _relu_conv_norm(inputs, outputs, kernel=3, stride=2)
        self.conv_b = _relu_conv_norm(outputs, outputs, kernel=3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_shortcut: Tensor = self.shortcut(x_BCHW)
        x_main: Tensor = self.conv_b(self.conv_a(x_BCHW))
        return x_shortcut + x_main


def _stem(inputs: int, channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1, bias=False),
                         nn.BatchNorm2d(channels))


def _head(channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(channels, num_classes))


def _operation(operation: int, channels: int) -> nn.Module:
    if operation == CONV_1X1:
        return _relu_conv_norm(channels, channels, kernel=1)
    if operation == CONV_3X3:
        return _relu_conv_norm(channels, channels, kernel=3)
    if operation == POOL:
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity()


def _relu_conv_norm(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs))


def _name(target: int, source: int) -> str:
    return f"edge{target}_{source}"
