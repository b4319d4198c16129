"""Norms that run with the leading part of stored weights.

Legend: B batch, C channels, H and W image sides, T sequence, E features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import ArchError


class ElasticBatchNorm2d(nn.Module):
    """Batch norm over the first channels of a stored set.

    In training mode it normalises by the statistics of the batch and writes nothing: statistics
    of different subnets do not mix. In evaluation mode it reads `running_mean` and `running_var`,
    which a loader or `calibrate` fills; they fit the network that they were measured on only.

    Args:
        channels: Largest number of channels.
    """

    running_mean: Tensor
    running_var: Tensor

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, C, H, W), normalised.

        Raises:
            ArchError: More channels than are stored.
        """
        channels = x_BCHW.shape[1]
        if channels > self.weight.shape[0]:
            raise ArchError(f"batch norm stores {self.weight.shape[0]} channels, asked for "
                            f"{channels}")
        weight, bias = self.weight[:channels], self.bias[:channels]
        if self.training:
            return F.batch_norm(x_BCHW, None, None, weight, bias, training=True, eps=self.eps)
        mean, var = self.running_mean[:channels], self.running_var[:channels]
        return F.batch_norm(x_BCHW, mean, var, weight, bias, eps=self.eps)


class ElasticLayerNorm(nn.Module):
    """Layer norm over the first features of a stored set, by the statistics of those alone.

    Args:
        features: Largest number of features.
    """

    eps = 1e-5

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Returns (B, T, E), normalised over E.

        Raises:
            ArchError: More features than are stored.
        """
        features = x_BTE.shape[-1]
        if features > self.weight.shape[0]:
            raise ArchError(f"layer norm stores {self.weight.shape[0]} features, asked for "
                            f"{features}")
        return F.layer_norm(x_BTE, (features,), self.weight[:features], self.bias[:features],
                            self.eps)
