"""For libraries that draw from global generators: seeded for a while, then given back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from nas.core.rng import derive_rng


@contextmanager
def generators_kept() -> Iterator[None]:
    """Gives the global generators of Python, numpy and torch's CPU back as they were.

    Only one thread may work in it at a time: the generators are the process's.
    """
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    tensor = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002
        torch.default_generator.set_state(tensor)


def seed_generators(seed: int, purpose: str, *, index: int) -> None:
    """Seeds the global generators as one stream of `nas.core.rng`; see there for the arguments.

    To be called within `generators_kept`.
    """
    words = derive_rng(seed, purpose, index=index).integers(2**32, size=3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002
    torch.default_generator.manual_seed(int(words[2]))
