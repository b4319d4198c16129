"""SynFlow: how much flows from the input to the output through a network of magnitudes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import check_finite, counted_weights
from predictors.zero_cost.gradients import gradients_of, summed
from predictors.zero_cost.guard import preserved


class SynFlow:
    """log Σ |θ ⊙ ∂R/∂θ| over Conv and Linear weights (Tanaka et al., arXiv 2006.05467, section 5).

    R is the sum of the outputs for one input of ones, in float64, with every parameter replaced by
    its magnitude and every BatchNorm by the identity. Targets and loss are not read; of the inputs
    only the shape of a sample is.

    Networks with LayerNorm, GroupNorm or attention keep them: their scores are sums of magnitudes
    all the same, but the flow is then not conserved from layer to layer, as the paper's theory
    asks, and behind a norm it does not grow with the weights in front of it.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn.

        Raises:
            EvaluationError: Nothing flows: the input and the output are not connected.
        """
        total = summed("synflow", self.scores(model, batch, loss=loss, rng=rng))
        if total == 0.0:
            raise EvaluationError("synflow: nothing flows through any Conv or Linear layer, so "
                                  "the logarithm of the flow is not finite; the network's output "
                                  "does not depend on its input")
        return math.log(total)

    def scores(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
               rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns |θ ⊙ ∂R/∂θ| of every Conv and Linear weight in float64, by its name.

        Raises:
            InputError: The inputs are not real numbers, or the output is not one tensor.
        """
        del loss, rng
        inputs = batch[0]
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise InputError("synflow feeds ones in place of the inputs, so these must be a "
                             "tensor of real numbers")
        with preserved(model, training=False):
            weights = counted_weights(model)
            _make_magnitudes(model)
            for weight in weights.values():
                weight.requires_grad_()
            ones = torch.ones_like(inputs[:1], dtype=torch.float64)
            with _WithoutBatchNorm():
                outputs = model(ones)
            if not isinstance(outputs, Tensor):
                raise InputError(f"synflow sums the output, a tensor, not {type(outputs).__name__}")
            grads = gradients_of(outputs.sum(), list(weights.values()))
            found = {name: (weight.detach() * grad).abs()
                     for (name, weight), grad in zip(weights.items(), grads, strict=True)}
        check_finite("synflow", found)
        return found


def _make_magnitudes(model: nn.Module) -> None:
    """Replaces parameters by magnitudes and all real numbers by float64; `preserved` undoes it."""
    for parameter in model.parameters():
        parameter.data = parameter.data.abs().double()
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.double()


class _WithoutBatchNorm(TorchFunctionMode):
    """Batch norm returns its input, whichever module calls it."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        del types
        if func is F.batch_norm:
            return kwargs["input"] if kwargs and "input" in kwargs else args[0]
        return func(*args, **(kwargs or {}))
