"""How a VAR's weights start: VAR's `init_weights`, as its authors train it."""

import math

import torch
from torch import Generator, nn

from supernets.var.layers import Block

_ADALN, _GATES, _HEAD = 0.5, 1e-5, 0.02


@torch.no_grad()
def initialise(net: nn.Module, *, blocks: list[Block], width: int,
               generator: Generator | None = None) -> None:
    """Draws all weights of a transformer; biases and the heads' scales are left as they are made.

    Matrices and embeddings have the standard deviation √(1/(3C)). Then the classifier is ·0.02,
    what ends a branch ÷√(2 · layers), and AdaLN small: gates ·1e−5, scales and shifts ·0.5.

    Args:
        net: A `VarSupernet`.
        blocks: Its layers.
        width: C.
        generator: Of the draws; None: torch's default one.
    """
    std = math.sqrt(1 / (3 * width))
    for name, parameter in net.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("weight", "pos_start", "pos_1LC"):
            nn.init.trunc_normal_(parameter, std=std, generator=generator)
        elif leaf == "ada_gss":
            nn.init.normal_(parameter, std=width**-0.5, generator=generator)
            parameter[:, :, :2] *= _GATES
            parameter[:, :, 2:] *= _ADALN
        elif leaf == "bias":
            nn.init.zeros_(parameter)
    net.get_parameter("head.weight").mul_(_HEAD)
    net.get_parameter("head_nm.ada_lin.1.weight").mul_(_ADALN)
    for block in blocks:
        block.attn.proj.weight /= math.sqrt(2 * len(blocks))
        block.ffn.fc2.weight /= math.sqrt(2 * len(blocks))
        if block.ada_lin is not None:
            weight = block.ada_lin.get_parameter("1.weight")
            weight[:2 * width] *= _GATES
            weight[2 * width:] *= _ADALN
