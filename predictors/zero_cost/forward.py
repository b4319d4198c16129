"""One forward pass for a score: what goes in and comes out is checked, faults have a name."""

import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch
from predictors.zero_cost.checks import first_not_finite, samples_count


def tensor_inputs(batch: Batch, *, at_least: int = 1, proxy: str) -> Tensor:
    """Returns the inputs of a batch, one tensor (B, …).

    Raises:
        InputError: They are something else, or fewer than `at_least`.
    """
    inputs = batch[0]
    if not isinstance(inputs, Tensor):
        raise InputError(f"{proxy} needs inputs in one tensor, not {type(inputs).__name__}; wrap "
                         "the network in a module that takes one")
    samples_count(batch, at_least=at_least, proxy=proxy)
    return inputs


def real_inputs(batch: Batch, *, at_least: int = 1, proxy: str) -> Tensor:
    """Returns the inputs of a batch, one tensor (B, …) of real numbers.

    Raises:
        InputError: They are something else, such as tokens, or fewer than `at_least`.
    """
    inputs = tensor_inputs(batch, at_least=at_least, proxy=proxy)
    if not inputs.is_floating_point():
        raise InputError(f"{proxy} needs real-valued inputs, not {inputs.dtype}; choose a proxy "
                         "that does not differentiate or draw them")
    return inputs


def finite_outputs(model: nn.Module, inputs: Tensor, *, proxy: str) -> Tensor:
    """Runs the model on a copy of the inputs, which it may overwrite, and returns its outputs.

    Returns:
        (B, …), such as the logits (B, classes). Gradients reach `inputs` where they are recorded.

    Raises:
        InputError: The outputs are not one tensor with a row for every sample.
        EvaluationError: An output is not finite; the message has the first layer where that is so.
    """
    outputs = model(inputs.clone())
    if not isinstance(outputs, Tensor):
        raise InputError(f"{proxy} needs a network with one tensor as its output, not "
                         f"{type(outputs).__name__}; wrap it in a module that returns the logits")
    if outputs.dim() == 0 or len(outputs) != len(inputs):
        raise InputError(f"{proxy} needs a row of outputs for each of {len(inputs)} samples, not "
                         f"the shape {tuple(outputs.shape)}")
    if not torch.isfinite(outputs).all():
        raise EvaluationError(f"{proxy}: the output of {first_not_finite(model, inputs)} is not "
                              "finite; check the inputs, its weights and their scale")
    return outputs
