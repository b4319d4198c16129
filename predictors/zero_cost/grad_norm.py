"""grad_norm: how long the gradients are."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from nas.core.protocols import Batch
from predictors.zero_cost.gradients import summed, weight_gradients
from predictors.zero_cost.guard import preserved


class GradNorm:
    """Σ over Conv and Linear weights of ‖∂L/∂W‖₂ (Abdelfattah et al., arXiv 2101.08134, 3.1).

    L is the mean loss of the batch; BatchNorm uses the statistics of the batch.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn."""
        del rng
        with preserved(model, training=True):
            gradients = weight_gradients(model, batch, loss=loss)
        return summed("grad_norm", {name: grad.norm() for name, grad in gradients.items()})
