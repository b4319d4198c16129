"""TE-NAS: trainability from the neural tangent kernel, expressivity from linear regions."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch
from predictors.zero_cost.activation_patterns import agreement
from predictors.zero_cost.forward import finite_outputs, real_inputs
from predictors.zero_cost.guard import preserved

_GROUP = 2**28  # gradient numbers held at a time: 1 GiB in float32
_CHUNK = 2**20  # columns converted to float64 at a time


class TeNas:
    """−κ + R: κ the condition number of the neural tangent kernel, R the linear regions.

    Chen, Gong and Wang 2021, "Neural Architecture Search on ImageNet in Four GPU Hours" (arXiv
    2102.11535), sections 3.1 and 3.2. The paper ranks networks by −κ and by R separately and adds
    the two RANKS, which one network's score cannot do; −κ + R is how the authors of Zen-NAS
    combine them. `ntk_condition` and `linear_regions` give the parts for whoever ranks.

    R is at most the number of samples. The paper counts it on 3000 crops of 3×3 pixels with one
    channel; on whole images every sample has a pattern of its own and R is constant, so that κ
    alone ranks. The paper draws Kaiming-normal weights; here they are scored as given.

    Args:
        ntk_samples: The kernel is that of the first so many samples, ≥ 2: one backward pass each.
            The paper has 72 on NAS-Bench-201 and 14 on DARTS, Zen-NAS 16.

    Raises:
        InputError: Fewer than 2 samples, no activations, or inputs that are not real numbers in
            one tensor.
        EvaluationError: The kernel is singular or not finite.
    """

    def __init__(self, *, ntk_samples: int = 16) -> None:
        if ntk_samples < 2:
            raise InputError(f"te_nas: a kernel of {ntk_samples} samples has no condition number; "
                             "at least 2 are needed")
        self._ntk_samples = ntk_samples

    def __call__(self, model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor],
                 rng: np.random.Generator) -> float:
        """See `nas.core.protocols.ZeroCostProxy`."""
        del loss, rng
        inputs = real_inputs(batch, at_least=2, proxy="te_nas")
        regions = linear_regions(model, inputs)
        return regions - ntk_condition(model, inputs[:self._ntk_samples])


def linear_regions(model: nn.Module, inputs: Tensor) -> int:
    """Returns how many different activation patterns the samples (B, …) have, 1 … B.

    For ReLU networks these are linear regions of the function; see `activation_patterns` for
    other activations. BatchNorm uses the statistics of the batch.
    """
    with preserved(model, training=True):
        return agreement(model, inputs, proxy="te_nas").distinct


def ntk_condition(model: nn.Module, inputs: Tensor) -> float:
    """Returns λ_max/λ_min of the neural tangent kernel Θ = G·Gᵀ of samples (B, …), ≥ 1.

    Row n of G is the gradient of sample n's summed logits with respect to every parameter whose
    name has ``weight`` in it, norms included and biases not, as in the authors' code. BatchNorm
    uses the statistics of the batch, so samples cannot be taken one by one: B backward passes run
    through one graph, and again for every 2²⁸ / B weights, which bounds memory.

    Raises:
        InputError: Fewer than 2 samples, or no parameter with that name that the outputs depend on.
        EvaluationError: Θ is singular within the precision of the gradients, or not finite.
    """
    if len(inputs) < 2:
        raise InputError("te_nas: a kernel of 1 sample has no condition number; give at least 2")
    with preserved(model, training=True):
        weights = {name: parameter for name, parameter in model.named_parameters()
                   if "weight" in name}
        if not weights:
            raise InputError(f"te_nas: {type(model).__name__} has no parameter called weight")
        for weight in weights.values():
            weight.requires_grad_(True)
        outputs = finite_outputs(model, inputs, proxy="te_nas")
        if not outputs.requires_grad:
            raise InputError("te_nas: the outputs depend on no weight; are they detached?")
        kernel_BB = torch.zeros(len(inputs), len(inputs), dtype=torch.float64,
                                device=outputs.device)
        for group in _groups(weights, _GROUP // len(inputs)):
            kernel_BB += _kernel_part(outputs, group)
    return _condition(kernel_BB, float(torch.finfo(outputs.dtype).eps))


def _groups(weights: dict[str, nn.Parameter], limit: int) -> Iterator[dict[str, nn.Parameter]]:
    """Yields the weights in turn, in groups of at most `limit` numbers or of one tensor."""
    group: dict[str, nn.Parameter] = {}
    size = 0
    for name, weight in weights.items():
        if group and size + weight.numel() > limit:
            yield group
            group, size = {}, 0
        group[name] = weight
        size += weight.numel()
    yield group


def _kernel_part(outputs: Tensor, group: dict[str, nn.Parameter]) -> Tensor:
    rows = torch.stack([_gradient(output, group) for output in outputs])
    part_BB = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for chunk in torch.split(rows, _CHUNK, dim=1):
        wide = chunk.double()
        part_BB += wide @ wide.T
    return part_BB


def _gradient(output: Tensor, group: dict[str, nn.Parameter]) -> Tensor:
    found = torch.autograd.grad(output.sum(), list(group.values()), retain_graph=True,
                                materialize_grads=True)
    for name, gradient in zip(group, found, strict=True):
        if not torch.isfinite(gradient).all():
            raise EvaluationError(f"te_nas: a gradient of {name} is not finite; check the scale "
                                  "of the weights after it")
    return torch.cat([gradient.flatten() for gradient in found])


def _condition(kernel_BB: Tensor, precision: float) -> float:
    samples = len(kernel_BB)
    eigenvalues = torch.linalg.eigvalsh(kernel_BB)  # ascending
    # Eigenvalues are squares of G's singular values, which are known to samples · precision.
    noise = max((samples * precision) ** 2, samples * torch.finfo(torch.float64).eps)
    if eigenvalues[0] <= noise * eigenvalues[-1]:
        raise EvaluationError(f"te_nas: the kernel of {samples} samples is singular, so it has no "
                              "condition number; give distinct samples, or fewer, and see that "
                              "the outputs depend on them")
    return float(eigenvalues[-1] / eigenvalues[0])
