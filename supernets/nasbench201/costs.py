"""Closed-form sizes of the networks, exact to the unit.

All are of the network that `build` makes by default, at 32×32 pixels and 10 classes, and count
every edge, whether it matters or not, as the benchmark does.
"""

import numpy as np
from numpy.typing import NDArray

from nas.core.types import IntArray

# By operation, in the order of `OPERATIONS`: what one edge adds, in all 15 cells together.
_PARAMS = np.array([0, 0, 28_000, 243_040, 0], dtype=np.int64)
_MACS = np.array([0, 0, 3_932_160, 35_389_440, 0], dtype=np.int64)
_FLOPS = np.array([0, 0, 4_362_240, 35_819_520, 1_290_240], dtype=np.int64)

# The stem, the two reductions and the classifier.
_REST_PARAMS = 73_306
_REST_MACS = 7_783_040
_REST_FLOPS = 7_943_872


def params(codes: IntArray) -> NDArray[np.int64]:
    """Returns the number of trainable numbers of each code, (N,)."""
    return np.asarray(_REST_PARAMS + _PARAMS[codes].sum(axis=1))


def macs(codes: IntArray) -> NDArray[np.int64]:
    """Returns the multiply-adds of convolutions and the classifier of each code, (N,).

    NAS-Bench-201's own "FLOPs" are these and the classifier's 10 biases.
    """
    return np.asarray(_REST_MACS + _MACS[codes].sum(axis=1))


def flops(codes: IntArray) -> NDArray[np.int64]:
    """Returns the operations of each code as NASLib's zero-cost benchmark counts them, (N,).

    That is `macs`, 2 for each element that is normalised, 1 for each that a ReLU reads, and k²
    for each output of a k×k average pooling; the last pooling, over 8×8 elements, counts as 9×9.
    """
    return np.asarray(_REST_FLOPS + _FLOPS[codes].sum(axis=1))
