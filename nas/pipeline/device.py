"""What torch computes with: a GPU where there is one, else one CPU thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def torch_device() -> torch.device:
    """Returns the CUDA device if one is usable, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
