"""The Jacobian of the logits with respect to the inputs, and how samples' rows correlate."""

import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError
from predictors.zero_cost.forward import finite_outputs

_FLAT = 1e-12  # of a row's length; far below the rounding of float32, above that of float64


def input_jacobian(model: nn.Module, inputs: Tensor, *, proxy: str) -> tuple[Tensor, Tensor]:
    """Returns ∂(sum of all outputs)/∂(inputs), and the outputs.

    Where BatchNorm uses the statistics of the batch, a sample's row holds its influence on the
    other samples' outputs too, as published.

    Args:
        model: In the mode to run it in, with gradients recorded.
        inputs: (B, …), real.
        proxy: Its name, for messages.

    Returns:
        (B, numbers of a sample) in float64, and the outputs, (B, …), detached.

    Raises:
        EvaluationError: It is not finite, or the outputs do not depend on the inputs.
    """
    leaf = inputs.detach().requires_grad_()
    outputs = finite_outputs(model, leaf, proxy=proxy)
    gradient = torch.autograd.grad(outputs.sum(), leaf, allow_unused=True)[0] \
        if outputs.requires_grad else None
    if gradient is None:
        raise EvaluationError(f"{proxy}: the outputs do not depend on the inputs; the network has "
                              "no path between them")
    if not torch.isfinite(gradient).all():
        raise EvaluationError(f"{proxy}: the outputs are finite but their gradients with respect "
                              "to the inputs are not; check the scale of the weights")
    return gradient.flatten(1).double(), outputs.detach()


def correlations(rows_BD: Tensor, *, proxy: str) -> Tensor:
    """Returns Pearson's correlation between any two rows, (B, B).

    Raises:
        EvaluationError: All numbers of one row are equal, so that it has no correlations.
    """
    centred = rows_BD - rows_BD.mean(dim=1, keepdim=True)
    lengths = centred.norm(dim=1)
    flat = lengths <= _FLAT * rows_BD.norm(dim=1)
    if flat.any():
        raise EvaluationError(f"{proxy}: the Jacobian of sample {int(flat.nonzero()[0])} is the "
                              "same for every input number, so it correlates with nothing; does "
                              "the network still see its inputs?")
    directions: Tensor = centred / lengths[:, None]
    return directions @ directions.T
