"""The deepest subnet within bounds on its key-value caches and its latency."""

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import ConstraintError
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from supernets.var.config import VarConfig
from supernets.var.memory import check_budget, kv_bytes, layer_tokens
from supernets.var.space import VarSpace, build_space, plan

FLOAT_BYTES = 4  # of a key or value as generation stores them


def all_codes(space: VarSpace) -> IntArray:
    """Returns the codes (size, genes) of every architecture; there are at most some thousands."""
    rows = []
    for bridge in range(len(space.genes[0].choices)):
        live = space.active(np.array([[bridge] + [0] * (len(space.genes) - 1)], CODE_DTYPE))[0, 1:]
        values = range(len(space.genes[1].choices) - 1, -1, -1) if len(space.genes) > 1 else ()
        for depths in combinations_with_replacement(values, int(live.sum())):
            row = np.zeros(len(space.genes), CODE_DTYPE)
            row[0] = bridge
            row[1:][live] = depths
            rows.append(row)
    return np.stack(rows)


def deepest(config: VarConfig, *, images: int, guided: bool, max_kv_bytes: int | None = None,
            latency_ms: Callable[[IntArray], FloatArray] | None = None,
            max_latency_ms: float | None = None) -> Arch:
    """Returns the subnet that runs the most layers, summed over tokens, within the bounds.

    Args:
        config: The family member.
        images: Of a batch.
        guided: Whether each image runs twice.
        max_kv_bytes: Of the batch's caches in fp32, where they are freed.
        latency_ms: Codes (N, genes) → latency (N,); for `max_latency_ms`.
        max_latency_ms: Of one image.

    Raises:
        ConstraintError: No subnet is within the bounds.
    """
    space = build_space(config)
    if max_kv_bytes is not None:
        check_budget(config, max_kv_bytes, images=images, key_bytes=FLOAT_BYTES,
                     value_bytes=FLOAT_BYTES, guided=guided, freed=True)
    codes = all_codes(space)
    if max_latency_ms is not None and latency_ms is not None:
        found = latency_ms(codes)
        if not found.min() <= max_latency_ms:
            raise ConstraintError(f"the fastest subnet of {config.name} takes {found.min():.4g} ms "
                                  f"an image, more than {max_latency_ms:g}; allow more")
        codes = codes[found <= max_latency_ms]
    archs = [arch for arch in space.decode(codes) if max_kv_bytes is None or kv_bytes(
        config, plan(config, arch), images=images, key_bytes=FLOAT_BYTES,
        value_bytes=FLOAT_BYTES, guided=guided, freed=True) <= max_kv_bytes]
    if not archs:
        raise ConstraintError(f"no subnet of {config.name} is within both {max_kv_bytes} bytes of "
                              f"caches for {images} images and {max_latency_ms:g} ms; allow more "
                              "of one")
    return max(archs, key=lambda arch: _work(config, arch))


def _work(config: VarConfig, arch: Arch) -> tuple[int, int]:
    # Layers over tokens; of equal ones the smaller caches.
    found = plan(config, arch)
    return layer_tokens(found, freed=False), -layer_tokens(found, freed=True)
