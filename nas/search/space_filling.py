"""A first sample that covers a space: evenly along what is known, far apart in the rest.

Legend: N candidates, F features, K known objectives.
"""

import numpy as np

from nas.core.types import FloatArray, IntArray

_TRIED = 16  # candidates of a stratum that are compared


def spread_out(features: FloatArray, known: FloatArray, n: int, rng: np.random.Generator
               ) -> IntArray:
    """Returns the rows of n candidates, or of all if they are fewer, in the order of choosing.

    The candidates are cut into n strata of equal size along the mean rank of the known objectives
    (at random if there are none); of a few drawn from each stratum the one farthest from those
    already chosen is taken (maximin distance, Johnson et al. 1990), in standardised features.

    Args:
        features: (N, F).
        known: (N, K), K ≥ 0.
        n: Number wanted.
        rng: Of all draws.
    """
    count = len(features)
    n = min(n, count)
    order = rng.permutation(count)  # so that ties fall at random
    if known.shape[1]:
        ranks = known[order].argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        order = order[np.argsort(ranks.mean(axis=1), kind="stable")]
    scale = features.std(axis=0)
    points = (features - features.mean(axis=0)) / np.where(scale > 1e-9, scale, 1.0)
    nearest = np.full(count, np.inf)
    chosen = np.empty(n, dtype=np.int64)
    strata = np.array_split(order, n)
    for place, stratum in enumerate(rng.permutation(n).tolist()):
        members = strata[stratum]
        tried = rng.choice(members, size=min(_TRIED, len(members)), replace=False)
        chosen[place] = tried[nearest[tried].argmax()]
        away = ((points - points[chosen[place]]) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, away)
    return chosen
