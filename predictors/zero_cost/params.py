"""params: the number of weights, the baseline that a proxy has to beat."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from nas.core.protocols import Batch


class Params:
    """The number of trainable numbers; a tensor that is used twice counts once.

    Frozen parameters count as well: the size of a network does not depend on who trains it.
    Neither the batch nor the loss is used.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del batch, loss, rng
        return float(sum(parameter.numel() for parameter in model.parameters()))
