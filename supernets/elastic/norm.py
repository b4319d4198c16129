"""A batch norm that runs with its leading channels. Legend: B batch, C channels, H, W sides."""

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
