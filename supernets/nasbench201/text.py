"""The two texts in which cells are published: six digits, and the benchmark's own notation."""

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import ArchError
from nas.core.types import CODE_DTYPE, IntArray
from supernets.nasbench201.graph import EDGES, NODES, OPERATIONS
from supernets.nasbench201.space import SPACE

_DIGITS = "".join(str(digit) for digit in range(len(OPERATIONS)))
_EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


def from_ops(ops: str) -> Arch:
    """Returns the cell of six digits such as ``"421211"``, one an edge, in gene order.

    Raises:
        ArchError: Not six digits 0 … 4.
    """
    return SPACE.decode(codes_of_ops(ops)[None])[0]


def codes_of_ops(ops: str) -> IntArray:
    """Returns the code (6,) of six digits.

    Raises:
        ArchError: Not six digits 0 … 4.
    """
    if len(ops) != len(EDGES) or not set(ops) <= set(_DIGITS):
        raise ArchError(f"{ops!r} is no NAS-Bench-201 cell: write {len(EDGES)} digits 0 … "
                        f"{_DIGITS[-1]}, such as 421211")
    return np.array([int(digit) for digit in ops], dtype=CODE_DTYPE)


def ops_of(arch: Arch) -> str:
    """Returns the six digits of a cell; the inverse of `from_ops`.

    Raises:
        ArchError: An architecture of another space.
    """
    return "".join(str(code) for code in SPACE.encode([arch])[0].tolist())


def from_arch_str(text: str) -> Arch:
    """Returns the cell of a text such as ``"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"``.

    Nodes are joined by ``+``; each lists its incoming edges as operation~source, in order.

    Raises:
        ArchError: A node or an edge is missing, too many or out of order, or an unknown operation.
    """
    edges = _split(text)
    if [(target, source) for target, source, _ in edges] != [
            (target, str(source)) for target, source in EDGES]:
        raise ArchError(f"{text!r} does not list the edges of a NAS-Bench-201 cell, in order; "
                        f"write it like {_EXAMPLE}")
    for _, _, name in edges:
        if name not in OPERATIONS:
            raise ArchError(f"unknown operation {name!r} in {text!r}; "
                            f"known: {', '.join(OPERATIONS)}")
    codes = np.array([[OPERATIONS.index(name) for _, _, name in edges]], dtype=CODE_DTYPE)
    return SPACE.decode(codes)[0]


def arch_str_of(arch: Arch) -> str:
    """Returns the benchmark's notation of a cell; the inverse of `from_arch_str`.

    Raises:
        ArchError: An architecture of another space.
    """
    codes = SPACE.encode([arch])[0].tolist()
    nodes = (
        "".join(f"|{OPERATIONS[code]}~{source}"
                for code, (target, source) in zip(codes, EDGES, strict=True) if target == node)
        for node in range(1, NODES))
    return "+".join(f"{node}|" for node in nodes)


def _split(text: str) -> list[tuple[int, str, str]]:
    # (target, source, operation) of each edge, as written.
    edges = []
    for target, node in enumerate(text.split("+"), start=1):
        if len(node) < 2 or node[0] != "|" or node[-1] != "|":
            raise ArchError(f"{text!r} is no NAS-Bench-201 cell; write it like {_EXAMPLE}")
        for edge in node[1:-1].split("|"):
            name, _, source = edge.rpartition("~")
            edges.append((target, source, name))
    return edges
