"""ZiCo: weights whose gradients are large and agree between batches."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import check_finite, counted_weights, mean_loss
from predictors.zero_cost.forward import finite_outputs, tensor_inputs
from predictors.zero_cost.gradients import gradients_of
from predictors.zero_cost.guard import preserved


class ZiCo:
    """Σ over layers of log Σ over weights of mean |g| / std(g), over two batches' gradients g.

    Li et al. 2023, "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients" (arXiv
    2301.11300), section 3: the mean and the (population) standard deviation run over batches, the
    layers are the Conv and Linear ones without biases, and a weight whose gradients have no spread
    is left out, as is a layer that has no other weights.

    Published with two batches of 128. Here the given batch is cut into two halves, the first one
    larger by a sample where the number is odd; gradients do not accumulate from one to the next.
    BatchNorm uses the statistics of each half, as in the authors' code.

    Raises:
        InputError: Fewer than 2 samples, inputs or targets that are not one tensor each, or
            labels outside the classes.
        EvaluationError: A gradient is not finite, or no layer has gradients that differ.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del rng
        inputs = tensor_inputs(batch, at_least=2, proxy="zico")
        targets = batch[1]
        if not isinstance(targets, Tensor):
            raise InputError(f"zico halves the targets, one tensor, not {type(targets).__name__}")
        with preserved(model, training=True):
            weights = counted_weights(model)
            for weight in weights.values():
                weight.requires_grad_(True)
            first, second = (_gradients(model, weights, half, loss)
                             for half in zip(inputs.chunk(2), targets.chunk(2), strict=True))
        layers = [_inverse_variation(first[name], second[name]) for name in weights]
        live = [value.log() for value in layers if value > 0]
        if not live:
            raise EvaluationError("zico: no weight has gradients that differ between the two "
                                  "halves of the batch; do they hold the same samples, or does no "
                                  "gradient reach the layers?")
        return float(torch.stack(live).sum())


def _gradients(model: nn.Module, weights: dict[str, nn.Parameter], half: Batch,
               loss: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Returns ∂loss/∂weight by name; zeros for a weight that the loss does not depend on."""
    inputs, targets = half
    value = mean_loss(loss, finite_outputs(model, inputs, proxy="zico"), targets)
    found = gradients_of(value, list(weights.values()))
    gradients = dict(zip(weights, found, strict=True))
    check_finite("zico", gradients)
    return gradients


def _inverse_variation(a: Tensor, b: Tensor) -> Tensor:
    """Returns Σ mean |g| / std(g) over g ∈ {a, b}, where they differ, in float64."""
    # Of two numbers: the mean is (|a| + |b|)/2, the population's deviation |a − b|/2.
    differ = a != b
    a, b = a[differ].double(), b[differ].double()
    return ((a.abs() + b.abs()) / (a - b).abs()).sum()
