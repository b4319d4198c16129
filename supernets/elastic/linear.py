"""A dense layer that runs with the leading part of stored weights. Legend: B batch, D features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import ArchError


class ElasticLinear(nn.Module):
    """A dense layer with elastic input and output features, both given as maxima.

    Args:
        in_features: Largest number of input features.
        out_features: Largest number of output features.
        bias: Whether to add one.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.uniform_(self.weight, -(bound := out_features**-0.5), bound)

    def forward(self, x_BD: Tensor, out_features: int) -> Tensor:
        """Returns (B, out_features), from the first input and output features.

        Raises:
            ArchError: More features than are stored.
        """
        stored_out, stored_in = self.weight.shape
        if out_features > stored_out or x_BD.shape[-1] > stored_in:
            raise ArchError(f"linear stores {stored_in}→{stored_out} features, asked for "
                            f"{x_BD.shape[-1]}→{out_features}")
        weight = self.weight[:out_features, :x_BD.shape[-1]]
        return F.linear(x_BD, weight, None if self.bias is None else self.bias[:out_features])
