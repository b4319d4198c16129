"""macs: the multiply-adds of one inference, a baseline that a proxy has to beat."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.protocols import Batch
from predictors.zero_cost.checks import counted_layers
from predictors.zero_cost.forward import tensor_inputs
from predictors.zero_cost.guard import preserved


class Macs:
    """The multiply-adds of the Conv and Linear modules on the first input of the batch.

    One multiply-add = 1 MAC. Each output number of such a layer is a dot product with one row of
    its weight, so it counts the length of that row; a bias is free. Only modules that run are
    counted, and nothing else is: not the products within attention, no norm, no activation.

    Raises:
        InputError: No Conv or Linear layer, or inputs that are not one tensor.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss, rng
        inputs = tensor_inputs(batch, proxy="macs")
        total = 0

        def count(layer: nn.Module, _: Any, output: Tensor) -> None:
            nonlocal total
            total += output.numel() * cast(Tensor, layer.weight)[0].numel()

        with preserved(model, training=False), torch.no_grad():
            for _, layer in counted_layers(model):
                layer.register_forward_hook(count)
            model(inputs[:1].clone())
        return float(total)
