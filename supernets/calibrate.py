"""Batch-norm statistics of one network, measured anew."""

from collections.abc import Iterable

import torch
from torch import nn

from nas.core.errors import DataError
from nas.core.protocols import Batch


def recalibrate(module: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """Sets every batch norm's running statistics to those of the batches, in place.

    The statistics are the plain average over the batches, with no trace of the old ones. The
    module comes back in evaluation mode. A network without batch norm is returned as it is.

    Args:
        module: A network that the caller owns: an extracted copy, never a supernet.
        batches: Pairs (inputs, targets) of `train_calib`; targets are not read.

    Raises:
        DataError: There is no batch.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    if not norms:
        return module
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
        with torch.no_grad():
            for inputs, _ in batches:
                module(inputs)
                seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
    if seen == 0:
        raise DataError("recalibration got no batches; give it images of train_calib")
    return module
