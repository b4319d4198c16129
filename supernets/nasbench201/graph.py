"""The graph of a NAS-Bench-201 cell: which edges matter.

Legend: codes (N, 6) hold the operation of each edge, as an index into `OPERATIONS`.
"""

import numpy as np

from nas.core.types import CODE_DTYPE, BoolArray, IntArray

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(len(OPERATIONS))

# (target node, source node); node 0 is the cell's input and node 3 its output.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NODES = 4


def reaching_output(codes: IntArray) -> BoolArray:
    """Returns from which nodes a path without ``none`` leads to the output, (N, 4)."""
    nodes = np.zeros((len(codes), NODES), dtype=np.bool_)
    nodes[:, NODES - 1] = True
    for edge, (target, source) in reversed(list(enumerate(EDGES))):
        nodes[:, source] |= (codes[:, edge] != NONE) & nodes[:, target]
    return nodes


def reached_from_input(codes: IntArray) -> BoolArray:
    """Returns to which nodes a path without ``none`` leads from the input, (N, 4)."""
    nodes = np.zeros((len(codes), NODES), dtype=np.bool_)
    nodes[:, 0] = True
    for edge, (target, source) in enumerate(EDGES):
        nodes[:, target] |= (codes[:, edge] != NONE) & nodes[:, source]
    return nodes


def live_edges(codes: IntArray) -> BoolArray:
    """Returns which edges lie on a path from the input to the output without ``none``, (N, 6).

    A dead edge adds nothing to the output of an untrained network. Training leaves one trace: a
    convolution that reads zeros and reaches the output adds its normalisation's shift, a constant
    per channel. The benchmark takes such an edge for zero too, and so does this.
    """
    before, after = reached_from_input(codes), reaching_output(codes)
    live = [(codes[:, edge] != NONE) & before[:, source] & after[:, target]
            for edge, (target, source) in enumerate(EDGES)]
    return np.stack(live, axis=1)


def live_codes(codes: IntArray) -> IntArray:
    """Returns the codes with ``none`` on every edge that does not matter."""
    return np.where(live_edges(codes), codes, NONE).astype(CODE_DTYPE)
