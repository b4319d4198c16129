"""plain: what the loss loses, to first order, when a connection is cut."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from nas.core.protocols import Batch
from predictors.zero_cost.checks import check_finite, counted_weights
from predictors.zero_cost.gradients import summed, weight_gradients
from predictors.zero_cost.guard import preserved


class Plain:
    """Σ W ⊙ ∂L/∂W over Conv and Linear weights, signed (arXiv 2101.08134, section 3.2).

    L is the mean loss of the batch; BatchNorm uses the statistics of the batch.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn."""
        return summed("plain", self.scores(model, batch, loss=loss, rng=rng))

    def scores(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
               rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns W ⊙ ∂L/∂W of every Conv and Linear weight, by its name."""
        del rng
        with preserved(model, training=True):
            gradients = weight_gradients(model, batch, loss=loss)
            weights = counted_weights(model)
            found = {name: weights[name].detach() * grad
                     for name, grad in gradients.items()}
        check_finite("plain", found)
        return found
