"""How much of a codebook each scale uses.

Legend: B batch, T tokens of a scale, S scales, V codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.core.errors import InputError


@dataclass(frozen=True, slots=True)
class ScaleUsage:
    """What one scale makes of the codes.

    Attributes:
        used: Share of the codes that came at least once.
        perplexity: 2 to the entropy in bits of their shares: as many codes used alike.
    """

    used: float
    perplexity: float


def count_codes(tokens: Sequence[Tensor], vocabulary: int) -> Tensor:
    """Returns how often each scale has each code, (S, V) int64; counts of batches may be added.

    Args:
        tokens: A map for each scale, (B, T) each.
        vocabulary: V.
    """
    return torch.stack([tokens_BT.flatten().bincount(minlength=vocabulary)
                        for tokens_BT in tokens])


def codebook_usage(counts_SV: Tensor) -> list[ScaleUsage]:
    """Returns the figures of each scale.

    Raises:
        InputError: A scale has no token.
    """
    if counts_SV.dim() != 2 or not bool((counts_SV.sum(1) > 0).all()):
        raise InputError("codebook usage needs (scales, codes) counts with a token in each scale; "
                         "count at least one batch")
    shares_SV = counts_SV.double() / counts_SV.sum(1, keepdim=True)
    entropies_S = -torch.special.xlogy(shares_SV, shares_SV).sum(1)
    return [ScaleUsage(used, perplexity) for used, perplexity in zip(
        (counts_SV > 0).double().mean(1).tolist(), entropies_S.exp().tolist(), strict=True)]
