"""What predictors learn from: a cell's live graph in numbers.

Legend: codes (N, 6), features (N, F), P = 4 paths from the input to the output.
"""

from collections.abc import Iterator

import numpy as np

from nas.core.types import BoolArray, FloatArray, IntArray
from supernets.nasbench201.costs import flops, params
from supernets.nasbench201.graph import (
    CONV_1X1,
    CONV_3X3,
    EDGES,
    NONE,
    OPERATIONS,
    live_codes,
)

_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # the columns of their edges
_LONGEST = max(len(path) for path in _PATHS)

# Sizes are shares of the largest network's, so that they lie in 0 … 1 like the rest nearly does.
_LARGEST = np.full((1, len(EDGES)), CONV_3X3)


def feature_names() -> tuple[str, ...]:
    """Returns what each column of `cell_features` is, (F,)."""
    return (*(f"{target}<-{source}={name}" for target, source in EDGES for name in OPERATIONS),
            *(f"live {name}" for name in OPERATIONS[1:]), "live convolutions",
            *(f"paths of {length} edges" for length in range(1, _LONGEST + 1)),
            "connected", "deepest path", "deepest path in conv 3x3", "shallowest path",
            "live params", "live flops")


def cell_features(codes: IntArray) -> FloatArray:
    """Returns the features of each code, (N, F), equal for equal live graphs.

    In order: the one-hot live code, where dead edges are ``none``; live edges by operation; paths
    from the input to the output by length; the most and the fewest convolutions on one path;
    parameters and FLOPs, as shares of the largest network's. Nothing in it knows the benchmark's
    figures.
    """
    live = live_codes(codes)
    one_hot = (live[:, :, None] == np.arange(len(OPERATIONS))).reshape(len(live), -1)
    columns = [*_by_operation(live), np.isin(live, (CONV_1X1, CONV_3X3)).sum(axis=1),
               *_path_columns(live), *_sizes(live)]
    return np.column_stack([one_hot, *columns]).astype(np.float64)


def built_feature_names() -> tuple[str, ...]:
    """Returns what each column of `built_features` is, (F,)."""
    return (*feature_names(), *(f"built {name}" for name in OPERATIONS[1:]),
            "built params", "built flops")


def built_features(codes: IntArray) -> FloatArray:
    """Returns `cell_features`, and features of the network as built, dead edges included, (N, F).

    Some devices spend time on dead edges, some do not. In order: what `cell_features` has; built
    edges by operation; parameters and FLOPs as built, as shares of the largest network's.
    """
    return np.column_stack([cell_features(codes), *_by_operation(codes), *_sizes(codes)])


def _by_operation(codes: IntArray) -> list[IntArray]:
    return [(codes == operation).sum(axis=1) for operation in range(1, len(OPERATIONS))]


def _path_columns(live: IntArray) -> Iterator[IntArray | BoolArray]:
    exists: BoolArray = np.stack([(live[:, path] != NONE).all(axis=1) for path in _PATHS], axis=1)
    connected: BoolArray = np.logical_or.reduce(exists, axis=1)
    convolutions, convolutions_3x3 = (
        np.stack([np.isin(live[:, path], kinds).sum(axis=1) for path in _PATHS], axis=1)
        for kinds in ((CONV_1X1, CONV_3X3), (CONV_3X3,)))
    for length in range(1, _LONGEST + 1):
        yield exists[:, [len(path) == length for path in _PATHS]].sum(axis=1)
    yield connected
    yield np.where(exists, convolutions, 0).max(axis=1)
    yield np.where(exists, convolutions_3x3, 0).max(axis=1)
    # A cell without a path has depth 0; the column "connected" tells it from a path of skips.
    shallowest = np.where(exists, convolutions, _LONGEST).min(axis=1)
    yield np.where(connected, shallowest, 0)


def _sizes(codes: IntArray) -> tuple[FloatArray, FloatArray]:
    return params(codes) / params(_LARGEST), flops(codes) / flops(_LARGEST)
