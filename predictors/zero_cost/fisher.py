"""Fisher: what the loss loses when an output channel of a layer is cut."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import batch_loss, check_finite, counted_layers, counted_weights
from predictors.zero_cost.gradients import gradients_of, summed
from predictors.zero_cost.guard import preserved


class Fisher:
    """Σ over channels and their weights of ½·meanₙ(Σ a·∂L/∂a)² (arXiv 1906.04113, section 3).

    a is the output of a Conv or Linear layer, before normalisation and activation, the inner sum
    runs over its positions, the mean over samples n; L is the mean loss of the batch. Every weight
    of a channel gets the channel's value, so a channel counts as often as it has weights: this is
    how the published scores of arXiv 2101.08134 were computed. A layer that is called several
    times adds its calls. BatchNorm uses the statistics of the batch.

    Deviation: the channel of a Linear layer on sequences is the last dimension.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`; nothing is drawn."""
        return summed("fisher", self.scores(model, batch, loss=loss, rng=rng))

    def scores(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
               rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns the value of its channel for every Conv and Linear weight, by its name.

        Raises:
            InputError: A weight takes effect without a call of its layer, as the output
                projection of nn.MultiheadAttention does, or is computed from other parameters.
        """
        del rng
        with preserved(model, training=True):
            weights = counted_weights(model)
            calls = _Calls(model, weights)
            value = batch_loss(model, batch, loss=loss)
            calls.check_complete(value, weights)
            grads = gradients_of(value, [output for _, output in calls.made])
            found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for (name, output), grad in zip(calls.made, grads, strict=True):
                weight = weights[name]
                channel = _channel_values(output.detach() * grad, 1 if weight.dim() > 2 else -1)
                found[name] += channel.reshape(-1, *[1] * (weight.dim() - 1))
        check_finite("fisher", found)
        return found


class _Calls:
    """The outputs of all counted layers in one forward pass, by the name of the weight."""

    def __init__(self, model: nn.Module, weights: dict[str, nn.Parameter]) -> None:
        self.made: list[tuple[str, Tensor]] = []
        name_of = {id(weight): name for name, weight in weights.items()}
        for name, layer in counted_layers(model):
            weight = layer._parameters.get("weight")
            if weight is None:
                raise InputError(f"fisher: the weight of {name} is computed from other "
                                 "parameters; remove its parametrisation first")
            weight.requires_grad_()
            layer.register_forward_hook(self._recorder(name_of[id(weight)]))

    def _recorder(self, name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def record(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            self.made.append((name, output))
            return output.clone()  # the next layer may work in place
        return record

    def check_complete(self, value: Tensor, weights: dict[str, nn.Parameter]) -> None:
        called = {name for name, _ in self.made}
        silent = {name: weight for name, weight in weights.items() if name not in called}
        if not silent or not value.requires_grad:
            return
        used = torch.autograd.grad(value, list(silent.values()), retain_graph=True,
                                   allow_unused=True)
        for name, grad in zip(silent, used, strict=True):
            if grad is not None:
                raise InputError(f"fisher: {name} is used without a call of its layer, whose "
                                 "output it needs; score the network with another proxy")


def _channel_values(product: Tensor, channel_dim: int) -> Tensor:
    """½·meanₙ of the squared sum over positions: (B, …) → (channels,)."""
    moved = product.movedim(channel_dim, 1).flatten(2) if product.dim() > 2 \
        else product.unsqueeze(-1)
    return 0.5 * moved.sum(-1).square().mean(0)
