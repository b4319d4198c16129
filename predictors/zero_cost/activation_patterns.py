"""Which activations are on for which samples, and in how many of them two samples agree."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nas.core.errors import InputError
from predictors.zero_cost.forward import finite_outputs

# By the name of the function, under which modules, methods and in-place forms all come.
_ACTIVATIONS = {"relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu",
                "gelu", "silu", "mish", "hardswish"}
_CLIPPED = inspect.signature(functional.hardtanh)  # from 0 upwards it is a ReLU
_CHUNK = 2**20  # activations at a time: bounds memory, and ±1 sums of them are exact in float32


@dataclass(frozen=True, slots=True)
class Agreement:
    """In how many activations two samples agree.

    Attributes:
        counts_BB: Activations that are on in both samples or off in both, float64, exact.
        activations: Of one sample, all layers together.
    """

    counts_BB: Tensor
    activations: int

    @property
    def distinct(self) -> int:
        """How many different patterns the samples have."""
        return len(torch.unique(self.counts_BB == self.activations, dim=0))


def agreement(model: nn.Module, inputs: Tensor, *, proxy: str) -> Agreement:
    """Runs the model on inputs (B, …) and compares the samples' activation patterns.

    An activation is on where its input is positive. Counted are ReLU, ReLU6 and other clipped
    ReLUs, the leaky and exponential ones, GELU, SiLU, Mish and Hardswish, as modules or as
    functions, once for each time they run; for all but the first two the pattern is the sign of
    the pre-activation, which no longer bounds a linear region. Gates (sigmoid, hardsigmoid, tanh,
    softmax) and ``clamp`` are not counted.

    Args:
        model: In the mode to run it in.
        inputs: (B, …).
        proxy: Its name, for messages.

    Raises:
        InputError: No such activation runs, or one's first dimension is not the batch.
        EvaluationError: An output is not finite.
    """
    samples = len(inputs)
    counts_BB = torch.zeros(samples, samples, dtype=torch.float64, device=inputs.device)
    activations = 0

    def compare(name: str, x: Tensor) -> None:
        nonlocal activations
        if x.dim() < 2 or len(x) != samples:
            raise InputError(f"{proxy}: the {name} on the shape {tuple(x.shape)} does not have "
                             f"the {samples} samples in its first dimension")
        on_BA = (x > 0).flatten(1)
        activations += on_BA.shape[1]
        for chunk in torch.split(on_BA, _CHUNK, dim=1):
            # Signs ±1: a product is +1 where both are on or both off, −1 elsewhere.
            sign = chunk.float().mul_(2.0).sub_(1.0)
            counts_BB.add_((sign @ sign.T).double().add_(chunk.shape[1]).mul_(0.5))

    with torch.no_grad(), _Watched(compare):
        finite_outputs(model, inputs, proxy=proxy)
    if not activations:
        raise InputError(f"{proxy} needs a network with ReLU, GELU, SiLU or similar activations; "
                         f"none runs in {type(model).__name__}")
    return Agreement(counts_BB, activations)


class _Watched(TorchFunctionMode):
    """Shows `receive` the name and the input of every activation just before it runs."""

    def __init__(self, receive: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self._receive = receive

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        del types
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _ACTIVATIONS or (name == "hardtanh" and _starts_at_zero(args, kwargs)):
            self._receive(name, args[0] if args else kwargs["input"])
        # What the function calls in turn is not seen: each activation comes here once.
        return func(*args, **kwargs)


def _starts_at_zero(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    given = _CLIPPED.bind(*args, **kwargs)
    given.apply_defaults()
    return bool(given.arguments["min_val"] == 0)
