"""Array aliases. Codes are gene-choice indices, shape (N, genes), dtype int16."""

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CODE_DTYPE = np.int16
