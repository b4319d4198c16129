"""Zen-Score: how much a small change of the input moves the features of random weights."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import (
    check_finite,
    counted_layers,
    counted_weights,
    torch_generator,
)
from predictors.zero_cost.feature_maps import FeatureTap
from predictors.zero_cost.forward import finite_outputs, real_inputs
from predictors.zero_cost.guard import preserved

_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


class Zen:
    """log mean |f(x) − f(x + 0.01·ε)| + Σ over BatchNorm layers of log √(mean variance).

    Lin et al. 2021, "Zen-NAS" (arXiv 2102.01063), algorithm 1: Conv and Linear weights and x, ε
    are drawn from N(0, 1), biases are 0, norms scale by 1; f are the features before the global
    pooling (`predictors.zero_cost.feature_maps` says which tensor that is), and the second term
    takes back what BatchNorm scaled away. Without BatchNorm that term is 0, other norms are not
    corrected for, and a BatchNorm whose input does not vary has scaled nothing and adds nothing.
    The trained weights, the images and the labels are not used: of the batch only the shape
    matters.

    Deviations: the mean runs over features as well as samples, where the authors' code adds
    features up, which is the same ranking among networks whose last feature maps have one size.
    The variance is that of x's pass, where theirs is a running one that starts at 1. Four draws
    by default, where theirs has 32: the cost is two forward passes a draw.

    Args:
        repeats: Draws of weights and inputs that are averaged, ≥ 1.
        perturbation: What ε is multiplied by, > 0.

    Raises:
        InputError: An option is out of range, fewer than 2 samples, no Conv or Linear layer, or
            inputs that are not one tensor of real numbers.
        EvaluationError: Activations overflow for want of normalisation, or the features do not
            move because nothing connects them to the input.
    """

    def __init__(self, *, repeats: int = 4, perturbation: float = 0.01) -> None:
        if repeats < 1:
            raise InputError(f"zen: {repeats} repeats; at least 1 is needed")
        if not (perturbation > 0 and math.isfinite(perturbation)):
            raise InputError(f"zen: the perturbation {perturbation} is not above 0")
        self._repeats = repeats
        self._perturbation = perturbation

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss
        inputs = real_inputs(batch, at_least=2, proxy="zen")
        generator = torch_generator(rng, inputs.device)
        with preserved(model, training=True, weights=True), torch.no_grad():
            counted_layers(model)
            tap = FeatureTap()
            tap.watch(model)
            scores = [self._drawn(model, inputs, tap, generator) for _ in range(self._repeats)]
        return float(np.mean(scores))

    def _drawn(self, model: nn.Module, inputs: Tensor, tap: FeatureTap,
               generator: torch.Generator) -> float:
        _draw_weights(model, generator)
        x = torch.empty_like(inputs).normal_(generator=generator)
        moved = x + self._perturbation * torch.empty_like(x).normal_(generator=generator)
        spreads: dict[str, float] = {}
        handles = [_record_spread(name, module, spreads) for name, module in model.named_modules()
                   if "running_var" in module._buffers]
        features = tap.take(finite_outputs(model, x, proxy="zen"))
        for handle in handles:
            handle.remove()
        distance = float((features - tap.take(finite_outputs(model, moved, proxy="zen")))
                         .abs().mean())
        terms = {**spreads, "the features": math.log(distance) if distance > 0 else -math.inf}
        check_finite("zen", terms)
        return sum(terms.values())


def _draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    for weight in counted_weights(model).values():
        weight.normal_(generator=generator)
    for _, layer in counted_layers(model):
        if isinstance(layer.bias, Tensor):
            layer.bias.zero_()
    for module in model.modules():
        if "running_var" in module._buffers or isinstance(module, _NORMS):
            for name, value in (("weight", 1.0), ("bias", 0.0)):
                parameter = module._parameters.get(name)
                if parameter is not None:
                    parameter.fill_(value)


def _record_spread(name: str, module: nn.Module, spreads: dict[str, float]
                   ) -> torch.utils.hooks.RemovableHandle:
    def record(_: nn.Module, args: tuple[Any, ...], __: Any) -> None:
        variance = float(args[0].transpose(0, 1).flatten(1).var(dim=1).mean())
        # A layer that runs twice is corrected for twice; one in a branch without signal never.
        if variance != 0:
            spreads[name] = spreads.get(name, 0.0) + 0.5 * math.log(variance)

    return module.register_forward_hook(record)
