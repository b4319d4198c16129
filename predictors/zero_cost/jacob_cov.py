"""jacob_cov: how differently a network reacts to changes of different inputs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.protocols import Batch
from predictors.zero_cost.forward import real_inputs
from predictors.zero_cost.guard import preserved
from predictors.zero_cost.jacobian import correlations, input_jacobian

_K = 1e-5  # the paper's k


class JacobCov:
    """−Σ (log(v + k) + 1/(v + k)) over the eigenvalues v of the samples' correlation matrix.

    Mellor et al. 2020, "Neural Architecture Search without Training", version 1 (arXiv
    2006.04647v1), section 3: row n of the Jacobian is ∂(sum of the logits)/∂x_n, and v are the
    eigenvalues of the correlations between rows, k = 1e-5. The less rows correlate, the higher.

    BatchNorm uses the statistics of the batch, as published. Labels and loss are not used. The
    score depends on the batch size: compare networks on one batch. Jacobian rows are correlated
    in float64 and the matrix is taken as symmetric, so eigenvalues are real.

    Raises:
        InputError: Fewer than 2 samples, or inputs that are not one tensor of real numbers.
        EvaluationError: See `predictors.zero_cost.jacobian`.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss, rng
        inputs = real_inputs(batch, at_least=2, proxy="jacob_cov")
        with preserved(model, training=True):
            jacobian_BD, _ = input_jacobian(model, inputs, proxy="jacob_cov")
        eigenvalues = torch.linalg.eigvalsh(correlations(jacobian_BD, proxy="jacob_cov"))
        shifted = eigenvalues + _K
        return float(-(shifted.log() + 1.0 / shifted).sum())
