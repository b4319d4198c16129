"""What training leaves out at random: classes, for guidance, and branches of layers.

Legend: B images.
"""

import torch
from torch import Generator, Tensor

from supernets.var.config import VarConfig


def dropped_labels(config: VarConfig, labels_B: Tensor, generator: Generator | None) -> Tensor:
    """Returns labels, a share `cond_drop` of them replaced by no class."""
    if not config.cond_drop:
        return labels_B
    draws_B = torch.rand(len(labels_B), generator=generator, device=labels_B.device)
    return labels_B.masked_fill(draws_B < config.cond_drop, config.classes)


def branch_factors(config: VarConfig, layer: int, x_BTC: Tensor,
                   generator: Generator | None) -> Tensor | None:
    """Returns factors of a layer's two branches for each image, (2, B, 1, 1); None: all are 1.

    A branch is left out at the layer's rate, and is larger where it stays, so that its mean is
    the same: stochastic depth (Huang et al., arXiv 1603.09382).
    """
    last = 0.1 * config.depth / 24 if config.drop_path is None else config.drop_path
    rate = last * layer / max(config.depth - 1, 1)
    if not rate:
        return None
    draws_2B11 = torch.rand(2, len(x_BTC), 1, 1, generator=generator, device=x_BTC.device)
    return (draws_2B11 >= rate).to(x_BTC.dtype) / (1 - rate)
