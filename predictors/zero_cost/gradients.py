"""Gradients of the mean loss, in the way every gradient proxy takes them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import batch_loss, check_finite, counted_weights


def weight_gradients(model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                     create_graph: bool = False) -> dict[str, Tensor]:
    """Returns by name ∂L/∂W of every Conv and Linear weight, L the mean loss of the batch.

    A weight that the loss does not depend on gets zeros. Call it inside `guard.preserved`: frozen
    weights are thawed. Nothing is accumulated into `.grad`, so hooks on parameters stay silent.

    Args:
        model: The network, in the mode that the caller chose.
        batch: Inputs and targets.
        loss: (outputs, targets) → the mean loss.
        create_graph: Whether the gradients can be differentiated again.

    Raises:
        InputError: No Conv or Linear layer, or none that the loss depends on.
        EvaluationError: The loss is not finite.
    """
    weights = counted_weights(model)
    for weight in weights.values():
        weight.requires_grad_()
    value = batch_loss(model, batch, loss=loss)
    return dict(zip(weights, gradients_of(value, list(weights.values()),
                                          create_graph=create_graph), strict=True))


def gradients_of(value: Tensor, tensors: list[Any], *, create_graph: bool = False
                 ) -> tuple[Tensor, ...]:
    """Returns ∂value/∂tensor of each tensor, zeros where the value does not depend on it.

    Raises:
        InputError: The value depends on nothing that can be differentiated.
    """
    if not value.requires_grad:
        raise InputError("the loss depends on no Conv or Linear weight; is the output detached?")
    return torch.autograd.grad(value, tensors, create_graph=create_graph, allow_unused=True,
                               materialize_grads=True)


def summed(proxy: str, scores: Mapping[str, Tensor]) -> float:
    """Returns the sum of all numbers of all tensors, added in float64.

    Raises:
        EvaluationError: One is not finite; the message has the tensor's name.
    """
    check_finite(proxy, scores)
    return sum(score.sum(dtype=torch.float64).item() for score in scores.values())
