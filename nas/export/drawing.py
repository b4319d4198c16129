"""From logits to tokens with numpy alone, as `supernets.var.sampling` does it with torch.

Legend: B images, T tokens of a scale, V codes.
"""

import numpy as np
from numpy.typing import NDArray

from nas.core.types import BoolArray, FloatArray, IntArray

Logits = NDArray[np.float32]


def guided(logits: Logits, strength: float) -> Logits:
    """Returns (B, T, V) of logits (2B, T, V), first those with their class c, then u without.

    They are moved away from those without: (1 + t)·c − t·u.
    """
    with_class, without = np.split(logits, 2)
    moved: Logits = (1 + strength) * with_class - strength * without
    return moved


def filtered(logits_BTV: Logits, *, top_k: int, top_p: float) -> Logits:
    """Returns the logits with −∞ where a code may not be drawn.

    Top-k keeps every code as likely as the k-th. Top-p sums from the least likely on: codes go
    while the sum is at most 1 − top_p; the likeliest stays. 0 is none of the two.
    """
    if top_k:
        place = logits_BTV.shape[-1] - top_k
        least = np.partition(logits_BTV, place, axis=-1)[..., place:place + 1]
        logits_BTV = np.where(logits_BTV < least, np.float32(-np.inf), logits_BTV)
    if top_p:
        order = np.argsort(logits_BTV, axis=-1, kind="stable")
        shares = _softmax(np.take_along_axis(logits_BTV, order, axis=-1))
        # Summed in double precision and rounded, as torch does.
        sums = shares.cumsum(-1, dtype=np.float64).astype(np.float32)
        goes = sums <= np.float32(1 - top_p)
        goes[..., -1] = False
        gone = np.zeros_like(goes)
        np.put_along_axis(gone, order, goes, axis=-1)
        logits_BTV = np.where(gone, np.float32(-np.inf), logits_BTV)
    return logits_BTV


def drawn(logits_BTV: Logits, uniforms_BT: FloatArray) -> IntArray:
    """Returns tokens (B, T): the first code whose cumulative probability exceeds the number."""
    cumulative, thresholds = _sums(logits_BTV, uniforms_BT)
    tokens: IntArray = (cumulative <= thresholds).sum(-1)
    return tokens


def undecided(logits_BTV: Logits, uniforms_BT: FloatArray, *, margin: float) -> BoolArray:
    """Returns (B, T) whether a number is so near a code's bound that rounding may decide."""
    cumulative, thresholds = _sums(logits_BTV, uniforms_BT)
    return np.asarray((np.abs(cumulative - thresholds) <= margin).any(-1))


def _sums(logits_BTV: Logits, uniforms_BT: FloatArray) -> tuple[FloatArray, FloatArray]:
    cumulative = _softmax(logits_BTV.astype(np.float64)).cumsum(-1)
    # Of the sum itself, which rounding keeps from being 1.
    return cumulative, uniforms_BT[..., None] * cumulative[..., -1:]


def _softmax(values: NDArray[np.floating]) -> NDArray[np.floating]:
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: NDArray[np.floating] = powers / powers.sum(-1, keepdims=True)
    return shares
