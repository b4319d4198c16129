"""What torch computes with: a GPU where there is one, else one CPU thread."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nas.execution.process import usable_cores

_MOST_WORKERS = 8
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def torch_device() -> torch.device:
    """Returns the CUDA device if one is usable, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def image_workers(wanted: int | None, device: torch.device) -> int:
    """Returns how many processes make training batches; None wants what is usual.

    On a CPU, training itself is what takes the time, so none are usual.
    """
    if wanted is not None:
        return wanted
    return 0 if device.type == "cpu" else min(_MOST_WORKERS, usable_cores())


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one CPU thread for a while.

    Subnets of small images give a second thread nothing to do, and on a busy machine waiting for
    it made a training step 2 to 5 times slower. Parallel work is the executor's business.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Lets glibc keep what torch frees, instead of giving it back and faulting it in again.

    The page faults were much of the CPU time of a validation. It holds for the whole process and
    cannot be undone, so it is for whoever owns the process: the command line. Elsewhere than on
    glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 2**30)
