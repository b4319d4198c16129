"""How many threads an evaluation computes with."""

import sys

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def thread_environment(threads: int) -> dict[str, str]:
    """Returns the variables that tell libraries which are yet to be loaded."""
    return dict.fromkeys(_VARIABLES, str(threads))


def use_threads(threads: int) -> None:
    """Tells torch, if it has been imported; whoever computes with it has imported it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
