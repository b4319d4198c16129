"""What proxies ask of models, batches and their own scores, each with one clear error."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch

_COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
IGNORED_TARGET = -100  # what torch's losses leave out by default


def counted_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns the Conv1d, Conv2d, Conv3d and Linear layers by name, each module once.

    Raises:
        InputError: There is none.
    """
    layers: list[tuple[str, nn.Module]] = [
        (name, module) for name, module in model.named_modules()
        if isinstance(module, _COUNTED)]
    if not layers:
        raise InputError(f"no Conv or Linear layer in {type(model).__name__}; a zero-cost proxy "
                         "scores their weights")
    return layers


def counted_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns by name the parameters that the weights of the counted layers are made of.

    That is ``weight``, or what a parametrisation such as weight norm computes it from. A tensor
    that several layers share stands under its first name alone, as in `named_parameters`.

    Raises:
        InputError: There is no Conv or Linear layer.
    """
    own = {id(parameter) for _, module in counted_layers(model)
           for name, parameter in module.named_parameters() if _makes_weight(name)}
    return {name: parameter for name, parameter in model.named_parameters()
            if id(parameter) in own}


def _makes_weight(name: str) -> bool:
    return name == "weight" or name.startswith(("weight_", "parametrizations.weight."))


def samples_count(batch: Batch, *, at_least: int = 1, proxy: str = "the proxy") -> int:
    """Returns the number of samples of a batch, the length of its first input tensor.

    Raises:
        InputError: There are fewer than `at_least`, or inputs and targets differ in number.
    """
    inputs, targets = batch
    lengths: list[int] = []
    map_tensors(lambda tensor: lengths.append(len(tensor)), inputs)
    if not lengths:
        raise InputError("the inputs of the batch hold no tensor")
    if isinstance(targets, Tensor) and targets.dim() > 0 and len(targets) != lengths[0]:
        raise InputError(f"the batch has {lengths[0]} inputs and {len(targets)} targets")
    if lengths[0] < at_least:
        raise InputError(f"{proxy} needs a batch of at least {at_least} samples, not {lengths[0]}")
    return lengths[0]


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Applies a function to each tensor in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(function, part) for part in value)
    return value


def batch_loss(model: nn.Module, batch: Batch, *, loss: Callable[..., Tensor]) -> Tensor:
    """Returns the mean loss of a batch, a finite scalar that can be differentiated.

    Raises:
        InputError: A label lies outside the classes of the outputs, or the loss is no scalar.
        EvaluationError: An output is not finite, and the message has the first layer where that
            is so; or the loss of finite outputs is not.
    """
    inputs, targets = batch
    outputs = model(inputs)
    if not _finite(outputs):
        raise EvaluationError("the first numbers that are not finite are those of "
                              f"{first_not_finite(model, inputs)}; check the inputs, the weights "
                              "there and their scale")
    return mean_loss(loss, outputs, targets)


def first_not_finite(model: nn.Module, inputs: Any) -> str:
    """Runs the model again and returns the first layer whose output is not finite.

    The first in the order in which layers finish, so the innermost one; the inputs' and the whole
    network's names are ``the inputs`` and ``the network``.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and not _finite(output):
                found.append(name or "the network")
        return look

    if not _finite(inputs):
        return "the inputs"
    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(map_tensors(Tensor.clone, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the network"


def _finite(value: Any) -> bool:
    flags: list[bool] = []
    map_tensors(lambda tensor: flags.append(bool(torch.isfinite(tensor).all())), value)
    return all(flags)


def mean_loss(loss: Callable[..., Tensor], outputs: Any, targets: Any) -> Tensor:
    """Returns ``loss(outputs, targets)``, a finite scalar.

    Raises:
        InputError: A label lies outside the classes of the outputs, or the loss is no scalar.
        EvaluationError: The loss is not finite.
    """
    check_targets(outputs, targets)
    value = loss(outputs, targets)
    if value.dim() != 0:
        raise InputError(f"the loss has the shape {tuple(value.shape)}; it must be the mean over "
                         "the batch, a scalar")
    if not math.isfinite(value.item()):
        raise EvaluationError(f"the loss is {value.item()}")
    return value


def check_targets(outputs: Any, targets: Any) -> None:
    """Checks integer labels (B,) against logits (B, classes); other kinds are left to the loss.

    Raises:
        InputError: A label is outside 0 … classes − 1 (and is not −100, torch's "ignored").
    """
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)) \
            or outputs.dim() != 2 or targets.dim() != 1 \
            or targets.is_floating_point() or not targets.numel():
        return
    classes = outputs.shape[1]
    wrong = targets[((targets < 0) | (targets >= classes)) & (targets != IGNORED_TARGET)]
    if len(wrong):
        raise InputError(f"label {wrong[0].item()} is outside 0 … {classes - 1}: the network has "
                         f"{classes} outputs; give it the number of classes of the data")


def check_finite(proxy: str, values: Mapping[str, Tensor | float]) -> None:
    """Checks the score of every layer or parameter.

    Args:
        proxy: Its name, for the message.
        values: Layer or parameter name → its score, a number or a tensor of them.

    Raises:
        EvaluationError: One is not finite; the message has its name.
    """
    for name, value in values.items():
        finite = bool(torch.isfinite(value).all()) if isinstance(value, Tensor) \
            else math.isfinite(value)
        if not finite:
            raise EvaluationError(f"{proxy}: the score of {name} is not finite; check the inputs "
                                  "and the weights of the layers before it")


def torch_generator(rng: np.random.Generator, device: torch.device | str = "cpu"
                    ) -> torch.Generator:
    """Returns a torch generator on the device, seeded by the next draw of rng."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63 - 1)))
