"""epe_nas: how a network's reactions to inputs of one class correlate."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import IGNORED_TARGET, check_targets
from predictors.zero_cost.forward import real_inputs
from predictors.zero_cost.guard import preserved
from predictors.zero_cost.jacobian import correlations, input_jacobian

_K = 1e-5  # the paper's k
_MANY_CLASSES = 100  # above it the paper compares classes instead of adding them


class EpeNas:
    """The Jacobian's correlations within each class, combined over classes.

    Lopes et al. 2021, "EPE-NAS" (arXiv 2102.08099), section 3: J as in `JacobCov`, C the
    correlation matrix of the rows of one class, s = Σ log(|C| + k) over its entries, k = 1e-5.
    Up to 100 classes the score is Σ |s|. Above, s is divided by the class's number of samples and
    the score is the sum over all ordered pairs of classes of |s − s'|, divided by their number;
    a class with one sample is left out.

    The number of classes is that of the network's outputs. BatchNorm uses the statistics of the
    batch, as published. The score depends on the batch: compare networks on one batch, of which
    the paper's has 256 samples. Samples whose label is −100 belong to no class.

    Raises:
        InputError: Targets are not integer labels, or no class (above 100 classes: fewer than two
            classes) has two samples; inputs are not one tensor of real numbers.
        EvaluationError: See `predictors.zero_cost.jacobian`.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss, rng
        inputs = real_inputs(batch, at_least=2, proxy="epe_nas")
        targets = batch[1]
        if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
            raise InputError("epe_nas needs one integer label for every sample")
        with preserved(model, training=True):
            jacobian_BD, outputs = input_jacobian(model, inputs, proxy="epe_nas")
        if outputs.dim() != 2:
            raise InputError("epe_nas needs a classifier with the outputs (samples, classes), not "
                             f"{tuple(outputs.shape)}")
        check_targets(outputs, targets)
        by_class = _class_sums(correlations(jacobian_BD, proxy="epe_nas"), targets)
        return _combined(by_class, classes=outputs.shape[1])


def _class_sums(correlations_BB: Tensor, targets_B: Tensor) -> list[tuple[int, float]]:
    """Returns for each class in the batch its number of samples and its s."""
    sums = []
    for label in torch.unique(targets_B).tolist():
        if label != IGNORED_TARGET:
            members = (targets_B == label).nonzero()[:, 0]
            block = correlations_BB[members][:, members]
            sums.append((len(members), float((block.abs() + _K).log().sum())))
    return sums


def _combined(by_class: list[tuple[int, float]], *, classes: int) -> float:
    pairs = [(count, value) for count, value in by_class if count > 1]
    needed = 1 if classes <= _MANY_CLASSES else 2
    if len(pairs) < needed:
        raise InputError(f"epe_nas needs two samples of at least {needed} of {classes} classes; "
                         f"the batch has them of {len(pairs)}: give a larger batch")
    if classes <= _MANY_CLASSES:
        return sum(abs(value) for _, value in by_class)
    means = np.array([value / count for count, value in pairs])
    return float(np.abs(means[:, None] - means).sum() / len(means))
