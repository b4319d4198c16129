"""Array aliases. Codes are gene-choice indices, shape (N, genes), dtype int16."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CODE_DTYPE = np.int16

Weights = Literal["fresh", "inherited"]  # in which a network is scored
