"""GradSign: how far the samples agree on where each weight should go."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import (
    batch_loss,
    check_finite,
    counted_weights,
    map_tensors,
    samples_count,
)
from predictors.zero_cost.gradients import gradients_of
from predictors.zero_cost.guard import preserved
from predictors.zero_cost.per_sample import LayerCall, gradients, sign_sum
from predictors.zero_cost.weight_calls import PerSampleForward


class GradSign:
    """Σ over weights of |Σ over samples of sign(∂ℓᵢ/∂θ)| (Zhang and Jia, arXiv 2110.08616, 4.2).

    θ are the weights of Conv1d, Conv2d, Conv3d and Linear layers, nothing else; a weight that is
    not used counts 0. ℓᵢ is the loss of sample i as a batch of one: BatchNorm uses the statistics
    of that sample alone. Dropout and stochastic depth are off.

    The scores equal those of one backward pass for each sample. They are computed from one
    forward and one backward pass of the whole batch: behind each layer the per-sample gradients
    are formed block by block and only the sum of their signs is kept, so memory is that of a
    training step and one block; a weight that is applied several times keeps its own per-sample
    gradients until the last. Networks for which that cannot be done (a weight used outside
    ``F.linear`` and ``F.conv*d`` as in nn.MultiheadAttention, weight norm, windows or time steps
    folded into the batch dimension) run sample by sample, which takes longer.

    The network must not mix samples otherwise than by BatchNorm, and the loss must be a mean over
    samples; a positive weight of each sample changes no sign.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn. Needs 2 samples or more."""
        scores = self.scores(model, batch, loss=loss, rng=rng)
        return sum(score.sum(dtype=torch.float64).item() for score in scores.values())

    def scores(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
               rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns |Σᵢ sign(∂ℓᵢ/∂θ)| of every Conv and Linear weight in float32, by its name."""
        del rng
        samples_count(batch, at_least=2, proxy="gradsign")
        with preserved(model, training=True):
            weights = counted_weights(model)
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            sums = _all_at_once(model, weights, batch, loss)
            if sums is None:
                sums = _one_by_one(model, weights, batch, loss)
        return {name: signs.abs_() for name, signs in sums.items()}


def _all_at_once(model: nn.Module, weights: Mapping[str, Tensor], batch: Batch,
                 loss: Callable[..., Tensor]) -> dict[str, Tensor] | None:
    """Returns Σᵢ sign(∂ℓᵢ/∂θ) by name, or None where the network does not lend itself to it."""
    inputs, targets = batch
    samples = samples_count(batch)
    sums = _SignSums(weights)
    inputs = map_tensors(Tensor.detach, inputs)
    forward = PerSampleForward(weights, samples=samples, sink=sums.add)
    with forward:
        value = batch_loss(model, (inputs, targets), loss=loss)
    if forward.obstacle or (forward.ambiguous and not _samples_lead(model, weights, inputs)):
        return None
    if not forward.starts or not value.requires_grad:
        raise InputError("the loss depends on no Conv or Linear weight; is the output detached?")
    sums.expect(forward.calls)
    torch.autograd.grad(value * samples, forward.starts, allow_unused=True)
    return sums.finished()


def _samples_lead(model: nn.Module, weights: Mapping[str, Tensor], inputs: Any) -> bool:
    """Whether one sample makes every layer's input have a leading dimension of one."""
    probe = PerSampleForward(weights, samples=1, sink=lambda *_: None)
    with probe:
        model(_sample(inputs, 0))
    return probe.obstacle is None


def _one_by_one(model: nn.Module, weights: Mapping[str, Tensor], batch: Batch,
                loss: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The same, with a backward pass for each sample."""
    for weight in weights.values():
        weight.requires_grad_()
    sums = {name: torch.zeros_like(weight, dtype=torch.float32)
            for name, weight in weights.items()}
    for index in range(samples_count(batch)):
        inputs, targets = _sample(batch[0], index), _sample(batch[1], index)
        value = batch_loss(model, (inputs, targets), loss=loss)
        grads = gradients_of(value, list(weights.values()))
        check_finite("gradsign", dict(zip(weights, grads, strict=True)))
        for total, grad in zip(sums.values(), grads, strict=True):
            total += grad.sign()
    return sums


def _sample(value: Any, index: int) -> Any:
    return map_tensors(lambda tensor: tensor[index:index + 1], value)


class _SignSums:
    """Adds up signs as the backward pass reaches the calls of each weight."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._sums: dict[str, Tensor] = {}
        self._calls: Mapping[str, int] = {}
        self._open: dict[str, int] = {}
        self._gradients: dict[str, Tensor] = {}  # per sample, of weights with several calls
        self._checks: dict[str, Tensor] = {}

    def expect(self, calls: Mapping[str, int]) -> None:
        self._calls = calls
        self._open = dict(calls)

    def add(self, name: str, call: LayerCall, grad: Tensor) -> None:
        # The sum is not finite if one of the numbers is not; the sign of NaN would be 0.
        self._checks[name] = self._checks.get(name, 0.0) + grad.sum()
        if self._calls[name] == 1:
            self._sums[name] = sign_sum(call, grad)
            return
        found = gradients(call, grad)
        held = self._gradients.get(name)
        self._gradients[name] = found if held is None else held.add_(found)
        self._open[name] -= 1
        if not self._open[name]:
            self._close(name)

    def finished(self) -> dict[str, Tensor]:
        for name in list(self._gradients):  # one of whose calls the loss does not depend on
            self._close(name)
        check_finite("gradsign", self._checks)
        return {name: self._sums[name] if name in self._sums
                else torch.zeros_like(weight, dtype=torch.float32)
                for name, weight in self._weights.items()}

    def _close(self, name: str) -> None:
        self._sums[name] = self._gradients.pop(name).sign_().sum(0, dtype=torch.float32)
