"""From logits to tokens: guidance, top-k, top-p, and draws by random numbers that are given.

Legend: B images, T tokens of a scale, L of all, V codes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.core import generation
from nas.core.errors import InputError
from supernets.var.config import VarConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn. VAR's figures are of guidance 1.5, top_k 900 and top_p 0.96.

    Attributes:
        guidance: Of the last scale; it rises from 0 at the first in equal steps. 0: none.
        top_k: The likeliest codes that may be drawn; 0: all.
        top_p: The smallest probability that the likeliest codes, which alone may be drawn, have
            together, after top_k; 0: all.
    """

    guidance: float = 1.5
    top_k: int = 0
    top_p: float = 0.0

    def check(self, config: VarConfig) -> None:
        """Checks that a transformer can be sampled so.

        Raises:
            InputError: A number is out of range, or the net has not learnt to do without a class.
        """
        if not 0 <= self.guidance < float("inf"):
            raise InputError(f"guidance {self.guidance} must be 0 or more")
        if self.guidance and not config.cond_drop:
            raise InputError(f"{config.name} has not learnt images without a class (cond_drop 0), "
                             "which guidance needs; set guidance to 0")
        if not 0 <= self.top_k <= config.vocabulary:
            raise InputError(f"top-k {self.top_k} is outside 0 … {config.vocabulary}, the codes of "
                             f"{config.name}")
        if not 0 <= self.top_p <= 1:
            raise InputError(f"top-p {self.top_p} is outside 0 … 1")


def guided(logits: Tensor, strength: float) -> Tensor:
    """Returns (B, T, V) of logits (2B, T, V), first those with their class c, then u without.

    They are moved away from those without: (1 + t)·c − t·u.
    """
    with_class, without = logits.chunk(2)
    return (1 + strength) * with_class - strength * without


def strength_at(scale: int, scales: int, guidance: float) -> float:
    """Returns the guidance t of a scale, from 0."""
    return guidance * scale / (scales - 1)


def filtered(logits_BTV: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Returns the logits with −∞ where a code may not be drawn.

    Top-k keeps every code as likely as the k-th. Top-p sums from the least likely on, as VAR does:
    codes go while the sum is at most 1 − top_p; the likeliest stays.
    """
    if top_k:
        least = logits_BTV.topk(top_k, dim=-1).values[..., -1:]
        logits_BTV = logits_BTV.masked_fill(logits_BTV < least, -torch.inf)
    if top_p:
        ascending, order = logits_BTV.sort(dim=-1)
        goes = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
        goes[..., -1] = False
        logits_BTV = logits_BTV.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes),
                                            -torch.inf)
    return logits_BTV


def drawn(logits_BTV: Tensor, uniforms_BT: Tensor) -> Tensor:
    """Returns tokens (B, T): the first code whose cumulative probability exceeds the number.

    Args:
        logits_BTV: Of codes that may be drawn; −∞ else.
        uniforms_BT: Double precision, in 0 … 1, below 1.

    Raises:
        InputError: Numbers in less precision, whose largest would round to 1.
    """
    if uniforms_BT.dtype != torch.float64:
        raise InputError(f"random numbers are of {uniforms_BT.dtype}; draw them in double "
                         "precision")
    cumulative = logits_BTV.double().softmax(-1).cumsum(-1)
    # Of the sum itself, which rounding keeps from being 1.
    thresholds = uniforms_BT[..., None] * cumulative[..., -1:]
    return (cumulative <= thresholds).sum(-1)


def image_uniforms(config: VarConfig, *, images: int, seed: int, first: int = 0) -> Tensor:
    """Returns `nas.core.generation.image_uniforms` of a family member, (B, L) double."""
    return torch.from_numpy(generation.image_uniforms(config.tokens, images=images, seed=seed,
                                                      first=first))
