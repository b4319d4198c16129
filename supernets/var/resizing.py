"""Resizing of square maps as a matrix, for runtimes that have not torch's way to do it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resizing(source: int, target: int, *, mode: str) -> Tensor:
    """Returns the matrix (source², target²) that resizes a flattened map as torch does.

    Args:
        source: Side of the map.
        target: Side of what it becomes.
        mode: Of `torch.nn.functional.interpolate`, a linear one such as ``"bicubic"``.
    """
    # In double precision before it is rounded once.
    units = torch.eye(source**2, dtype=torch.float64).view(-1, 1, source, source)
    if source != target:
        units = F.interpolate(units, size=(target, target), mode=mode)
    return units.flatten(1).float()
