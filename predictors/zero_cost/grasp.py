"""GraSP: how much the gradient flow suffers when a connection is cut."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.core.protocols import Batch
from predictors.zero_cost.checks import check_finite, counted_weights
from predictors.zero_cost.gradients import gradients_of, summed, weight_gradients
from predictors.zero_cost.guard import preserved


class Grasp:
    """Σ −W ⊙ (Hg) over Conv and Linear weights (Wang et al., arXiv 2002.07376, section 4).

    g is the gradient of the mean loss L, held constant, H the Hessian of L, both on the same
    batch and with temperature 1. BatchNorm uses the statistics of the batch. Attention is computed
    by its plain formula, since fused kernels cannot be differentiated twice.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn."""
        return summed("grasp", self.scores(model, batch, loss=loss, rng=rng))

    def scores(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
               rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns −W ⊙ (Hg) of every Conv and Linear weight, by its name."""
        del rng
        with preserved(model, training=True), sdpa_kernel(SDPBackend.MATH):
            gradients = weight_gradients(model, batch, loss=loss, create_graph=True)
            weights = counted_weights(model)
            flow = torch.stack([(grad.detach() * grad).sum() for grad in gradients.values()]).sum()
            # A loss that is linear in the weights has no curvature.
            products = gradients_of(flow, list(weights.values())) if flow.requires_grad \
                else [torch.zeros_like(weight) for weight in weights.values()]
            found = {name: -weight.detach() * product
                     for (name, weight), product in zip(weights.items(), products, strict=True)}
        check_finite("grasp", found)
        return found
