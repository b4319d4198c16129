"""What one pass over a model has taken; needs no runtime."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PassTimes:
    """One pass over one model.

    Attributes:
        cpu_ns: Each run by the protocol's timer: CPU time, or wall time as well.
        wall_ns: Wall time of each run.
        loop_cpu_ns: CPU time of all runs together.
        loop_wall_ns: Their wall time; with more than one thread, the CPU time and what all of them
            waited for a core, since the calling thread spins while another waits.
        clock_mhz: The processor's clock after them, where the system tells.
    """

    cpu_ns: NDArray[np.int64]
    wall_ns: NDArray[np.int64]
    loop_cpu_ns: int
    loop_wall_ns: int
    clock_mhz: float | None = None
