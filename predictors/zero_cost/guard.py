"""A model lent to a proxy comes back bit for bit as it was."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nas.core.errors import InputError

_Kind = TypeVar("_Kind", bound=Tensor)

@contextmanager
def preserved(model: nn.Module, *, training: bool, weights: bool = False) -> Iterator[None]:
    """Lends the model to the body and takes it back unchanged, also after an exception.

    Given back are the same tensor objects with the same bits: parameters, buffers, gradients
    (`.grad`), `requires_grad`, per-module modes, hooks and every other attribute of each module;
    what was added meanwhile is gone. Inside, all gradients start as None, gradients can be
    recorded whatever the caller's mode, and torch's global generators are put back at the end.

    ``training=True`` lets normalisation layers use the statistics of the batch. Every other layer
    runs in evaluation mode in both cases: dropout and stochastic depth are off, auxiliary heads
    too, so a score does not depend on chance.

    Args:
        model: Any eager module.
        training: Whether layers with running statistics use those of the batch.
        weights: Whether the body writes into parameters, which are then copied first. Replacing a
            parameter's contents (``parameter.data = other``) needs no copy and is undone as well.

    Raises:
        InputError: The model has TorchScript parts, or a BatchNorm layer gets one value per
            channel, so that there are no statistics to normalise by.
    """
    modules = list(model.modules())
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise InputError("a TorchScript model cannot be scored; give the module it was made from")
    parameters = _distinct(module._parameters for module in modules)
    buffers = _distinct(module._buffers for module in modules)
    saved: list[_SavedModule | _SavedParameter] = [
        *(_saved_module(module) for module in modules),
        *(_saved_parameter(parameter) for parameter in parameters)]
    contents = _saved_contents([*buffers, *(parameters if weights else ())])
    devices = {tensor.device for tensor in parameters if tensor.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)), torch.enable_grad():
        try:
            for parameter in parameters:
                parameter.grad = None
            # By its buffer and not by its class: norms of other libraries count too.
            for module in modules:
                module.training = training and "running_var" in module._buffers
            yield
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise InputError("a BatchNorm layer gets one value per channel and has no "
                                 "statistics to normalise by; give more samples or larger "
                                 "inputs") from error
            raise
        finally:
            for part in saved:
                part.restore()
            for held, content in contents:
                held.copy_(content)


def _distinct(groups: Iterable[Mapping[str, _Kind | None]]) -> list[_Kind]:
    """Returns the tensors of all groups, one that is shared once."""
    return list({id(tensor): tensor for group in groups for tensor in group.values()
                 if tensor is not None}.values())


def _saved_contents(tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Returns the bytes behind the tensors, each storage once, and a copy of them."""
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
    held = [torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
            for tensor in storages.values()]
    return [(content, content.clone()) for content in held]


@dataclass(frozen=True, slots=True)
class _SavedModule:
    module: nn.Module
    attributes: dict[str, Any]
    filled: dict[str, Any]  # copies of the dicts and sets among the attributes
    empty: list[Any]  # those without entries, most of a module's: copies would cost more than all

    def restore(self) -> None:
        self.module.__dict__.clear()
        self.module.__dict__.update(self.attributes)
        for name, content in self.filled.items():
            held = self.attributes[name]
            held.clear()
            held.update(content)
        for held in self.empty:
            held.clear()


def _saved_module(module: nn.Module) -> _SavedModule:
    attributes = dict(module.__dict__)
    filled, empty = {}, []
    for name, value in attributes.items():
        if isinstance(value, (dict, set)):
            if value:
                filled[name] = value.copy()
            else:
                empty.append(value)
    return _SavedModule(module, attributes, filled, empty)


@dataclass(frozen=True, slots=True)
class _SavedParameter:
    parameter: nn.Parameter
    contents: Tensor  # shares the storage
    grad: Tensor | None
    requires_grad: bool
    hooks: Any
    hooks_content: Any

    def restore(self) -> None:
        self.parameter.grad = None
        self.parameter.data = self.contents
        self.parameter.requires_grad_(self.requires_grad)
        self.parameter.grad = self.grad
        if self.hooks is not None:
            self.hooks.clear()
            self.hooks.update(self.hooks_content)
        self.parameter._backward_hooks = self.hooks


def _saved_parameter(parameter: nn.Parameter) -> _SavedParameter:
    hooks = parameter._backward_hooks
    return _SavedParameter(parameter, parameter.data, parameter.grad, parameter.requires_grad,
                           hooks, None if hooks is None else hooks.copy())
