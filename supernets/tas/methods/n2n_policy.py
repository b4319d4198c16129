"""The policy of N2N: a distribution for each gene, moved by REINFORCE."""

from collections.abc import Callable

import numpy as np

from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import BoolArray, FloatArray, IntArray

_MEMORY = 0.9  # of the moving mean of rewards
_SAMPLES = 64  # networks that a tilt is judged on
_HALVINGS = 20
_STEEPEST = 30.0


class Policy:
    """Independent genes, each a softmax of its logits.

    Args:
        space: Of the networks.
        base: (genes,): genes that are not free are as here.
        free: (genes,): which are drawn.
        seed: Of the draws.
        purpose: Of the draws.
        learning_rate: Of the logits.
    """

    def __init__(self, space: GeneSpace, base: IntArray, free: BoolArray, *, seed: int,
                 purpose: str, learning_rate: float) -> None:
        self._space, self._base, self._free = space, base, free
        self._seed, self._purpose, self._rate = seed, purpose, learning_rate
        self._logits = [np.zeros(len(gene.choices)) for gene in space.genes]
        self._baseline: float | None = None

    def tilt(self, costs: Callable[[IntArray], FloatArray], limit: float) -> None:
        """Leans towards small choices until about half of the draws cost the limit or less.

        Args:
            costs: Codes (N, genes) → (N,).
            limit: As `costs` counts.
        """
        low, high = 0.0, _STEEPEST
        if self._share_within(costs, limit, low) >= 0.5:
            return
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            enough = self._share_within(costs, limit, middle) >= 0.5
            low, high = (low, middle) if enough else (middle, high)
        self._lean(high)

    def draw(self, number: int) -> IntArray:
        """Returns the canonical code of one draw, a function of the logits and its number."""
        rng = derive_rng(self._seed, self._purpose, index=number)
        return self._drawn(rng)

    def learn(self, code: IntArray, reward: float) -> None:
        """Moves the logits along (reward − baseline) · ∇ log p of the code, then the baseline."""
        advantage = 0.0 if self._baseline is None else reward - self._baseline
        live = self._space.active(code[None])[0] & self._free
        for place in np.flatnonzero(live).tolist():
            gradient = -self._probabilities(place)
            gradient[code[place]] += 1.0
            self._logits[place] += self._rate * advantage * gradient
        self._baseline = reward if self._baseline is None else (
            _MEMORY * self._baseline + (1.0 - _MEMORY) * reward)

    def _drawn(self, rng: np.random.Generator) -> IntArray:
        code = self._base.copy()
        for place, uniform in enumerate(rng.random(len(code))):
            if self._free[place]:
                edges = np.cumsum(self._probabilities(place))[:-1]
                code[place] = np.searchsorted(edges, uniform, side="right")
        return np.asarray(self._space.canonical_codes(code[None])[0])

    def _probabilities(self, place: int) -> FloatArray:
        weights = np.exp(self._logits[place] - self._logits[place].max())
        return np.asarray(weights / weights.sum())

    def _lean(self, slope: float) -> None:
        self._logits = [-slope * np.arange(len(gene.choices)) / max(1, len(gene.choices) - 1)
                        for gene in self._space.genes]

    def _share_within(self, costs: Callable[[IntArray], FloatArray], limit: float, slope: float
                      ) -> float:
        self._lean(slope)
        rng = derive_rng(self._seed, f"{self._purpose} tilt")  # the same at every slope
        drawn = np.stack([self._drawn(rng) for _ in range(_SAMPLES)])
        return float(np.mean(costs(drawn) <= limit))
