"""The sets of features between which a few-shot fit chooses."""

from collections.abc import Mapping, Sequence

from hardware_profiles.features import BLOCKS, OWN_MS, graph_features, network_features
from hardware_profiles.few_shot_fit import independent_columns
from nas.core.blocks import Block
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

PADDINGS = (1, 8, 16, 32)  # channels that a vector or tensor unit takes at once


def feature_sets(vocabulary: Sequence[Block], *, prior: bool = False) -> dict[str, list[str]]:
    """Returns the sets of features between which a fit chooses, by name, the plainest first.

    Args:
        vocabulary: The blocks; what none of them has is left out.
        prior: Whether the blocks' own times on another configuration are known.
    """
    counted = sorted({name for block in vocabulary for name in graph_features(block.graph)})
    kernels = [BLOCKS, *(name for name in counted if name.startswith("kernels:"))]
    elems = [name for name in counted if name.startswith("elems:")]
    sets: dict[str, list[str]] = {OWN_MS: [OWN_MS, BLOCKS]} if prior else {}
    for padding in PADDINGS:
        prefix = "macs" if padding == 1 else f"macs{padding}"
        multiply = [name.replace("macs", prefix, 1) for name in counted if name.startswith("macs:")]
        sets[f"kernels+{prefix}"] = [*kernels, *multiply]
        sets[f"kernels+{prefix}+elems"] = [*kernels, *multiply, *elems]
        if prior:
            sets[f"{OWN_MS}+kernels+{prefix}+elems"] = [OWN_MS, *kernels, *multiply, *elems]
    return sets


def set_features(sets: Mapping[str, Sequence[str]], vocabulary: Sequence[Block], ids: IntArray,
                 own_ms: Mapping[str, float] | None = None) -> dict[str, FloatArray]:
    """Returns the features of networks by set, each (N, names + 1); see `network_features`."""
    every = list(dict.fromkeys(name for names in sets.values() for name in names))
    features = network_features(every, vocabulary, ids, own_ms)
    column = {name: index for index, name in enumerate(every)}
    return {name: features[:, [*(column[feature] for feature in names), -1]]
            for name, names in sets.items()}


def usable_sets(nets: int, features: Mapping[str, FloatArray]) -> list[str]:
    """Returns the names of the sets that so many networks can fit and cross-validate.

    That takes two networks more than a set has columns that say something of their own.

    Args:
        nets: How many networks are, or will be, measured.
        features: Name → the features of many networks of the space, (N, F).

    Raises:
        ProfileError: Not even the smallest set; the message has the minimum.
    """
    needed = {name: independent_columns(matrix) + 2 for name, matrix in features.items()}
    usable = [name for name, count in needed.items() if count <= nets]
    if not usable:
        raise ProfileError(f"{nets} networks are too few to fit this space's features; measure at "
                           f"least {min(needed.values())}, better twice as many")
    return usable
