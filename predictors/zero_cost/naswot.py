"""naswot: how differently a network's activations respond to different inputs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError
from nas.core.protocols import Batch
from predictors.zero_cost.activation_patterns import Agreement, agreement
from predictors.zero_cost.forward import tensor_inputs
from predictors.zero_cost.guard import preserved


class NasWot:
    """log det K, with K how many activations are on in both samples or off in both.

    Mellor et al. 2021, "Neural Architecture Search without Training" (arXiv 2006.04647),
    section 3: c = [ReLU input > 0] per layer, K = Σ over layers of c·cᵀ + (1 − c)·(1 − c)ᵀ. The
    paper's batch has 128 samples; the score depends on the batch: compare networks on one batch.

    BatchNorm uses the statistics of the batch, as in the authors' code. Where a network has other
    activations than ReLU the sign of their input takes its place
    (`predictors.zero_cost.activation_patterns` has the list). Labels and loss are not used.

    Raises:
        InputError: Fewer than 2 samples, inputs that are not one tensor, or no activations.
        EvaluationError: K is singular: its determinant is 0 and has no logarithm.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss, rng
        inputs = tensor_inputs(batch, at_least=2, proxy="naswot")
        with preserved(model, training=True):
            found = agreement(model, inputs, proxy="naswot")
        eigenvalues = torch.linalg.eigvalsh(found.counts_BB)  # ascending; K is semi-definite
        noise = len(inputs) * torch.finfo(torch.float64).eps * eigenvalues[-1]
        if eigenvalues[0] <= noise:
            raise EvaluationError(_why_singular(found))
        return float(eigenvalues.log().sum())


def _why_singular(found: Agreement) -> str:
    samples = len(found.counts_BB)
    if found.distinct < samples:
        return (f"naswot: {samples} samples have only {found.distinct} different activation "
                "patterns, so the determinant is 0; give distinct inputs, or fewer")
    return (f"naswot: the patterns of {found.activations} activations are linearly dependent over "
            f"{samples} samples, so the determinant is 0; give fewer samples")
