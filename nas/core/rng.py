"""Randomness is passed, never global: one generator per (seed, trial, purpose)."""

import hashlib

import numpy as np


def derive_rng(seed: int, purpose: str, *, index: int = 0) -> np.random.Generator:
    """Returns the generator that belongs to one purpose of one trial of one run.

    Args:
        seed: The run's seed, ≥ 0.
        purpose: What the numbers are for, such as ``"searcher"``.
        index: Trial id or batch number within the purpose, ≥ 0.

    Streams of different arguments are independent; equal arguments give equal streams on
    every machine.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, index, _purpose_key(purpose)]))


def derive_seed(seed: int, purpose: str, *, index: int = 0) -> int:
    """Returns a 63-bit integer seed, for libraries that take no generator."""
    return int(derive_rng(seed, purpose, index=index).integers(2**63 - 1))


def _purpose_key(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
