"""Watches a forward pass: where weights are applied, with each sample normalised by itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nas.core.errors import InputError
from predictors.zero_cost.per_sample import Geometry, LayerCall
from predictors.zero_cost.sample_norm import sample_norm

Sink = Callable[[str, LayerCall, Tensor], None]

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


class PerSampleForward(TorchFunctionMode):
    """Inside, a batch runs as if each sample were a batch of its own, and weights are watched.

    Batch norm that would use the statistics of the batch uses those of each sample. Every
    ``F.linear`` and ``F.conv1d … 3d`` of a watched weight is counted in `calls`, whichever module
    makes it, and hands its input and the gradient of its output to `sink` in the backward pass.
    Modules are not touched: this works on the functions that they call.

    Where that is not the whole truth, `obstacle` says why and the gradients must be taken another
    way: a watched weight is used in another operation or without gradients, or the leading
    dimension of a layer's input is not the samples.

    Args:
        weights: Name → weight; no parameter of the model requires a gradient.
        samples: Number of samples in the batch.
        sink: Takes name, call and gradient of the call's output.

    Attributes:
        obstacle: Why the calls do not tell all, or None.
        ambiguous: Whether a Linear layer's input has a second dimension as long as the batch, so
            that its length does not prove the leading one to be the samples.
        starts: Leaf tensors; all recorded gradients are on the way to them.
        calls: Name of the weight → how often it was applied.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, samples: int, sink: Sink) -> None:
        super().__init__()
        self.obstacle: str | None = None
        self.ambiguous = False
        self.starts: list[Tensor] = []
        self.calls = dict.fromkeys(weights, 0)
        self._names = {id(weight): name for name, weight in weights.items()}
        self._samples = samples
        self._sink = sink

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        """Runs one torch function; the mode is off in here."""
        del types
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is torch.batch_norm:
            self.obstacle = "torch.batch_norm is called directly, with arguments of its own"
        result = func(*args, **kwargs)
        used = self._used((*args, *kwargs.values()))
        if not used:
            return result
        if len(used) == 1 and func is F.linear:
            return self._linear(used[0], result, *args, **kwargs)
        if len(used) == 1 and func in _CONVOLUTIONS:
            return self._convolution(used[0], result, *args, **kwargs)
        if _holds_tensor(result):  # otherwise a shape, a type, a device
            self.obstacle = f"{used[0]} is used by {getattr(func, '__name__', func)}"
        return result

    def _used(self, values: Iterable[Any]) -> list[str]:
        found = []
        for value in values:
            if id(value) in self._names:
                found.append(self._names[id(value)])
            elif isinstance(value, list | tuple):
                found += self._used(value)
        return found

    def _batch_norm(self, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
                    weight: Tensor | None = None, bias: Tensor | None = None,
                    training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
        if len(input) != self._samples:
            self.obstacle = "the leading dimension of a BatchNorm's input is not the samples"
            return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
        if input.dim() < 3 or input[0, 0].numel() == 1:
            raise InputError("a BatchNorm layer gets one value per channel and sample, so a sample "
                             "by itself has no statistics to normalise by; give larger inputs, or "
                             "another proxy")
        return sample_norm(input, weight, bias, eps)

    def _linear(self, name: str, output: Tensor, input: Tensor, weight: Tensor,
                bias: Tensor | None = None) -> Tensor:
        del bias
        if input.dim() > 2 and self._samples in input.shape[1:-1]:
            self.ambiguous = True
        batched = input.dim() > 1
        return self._record(name, output, input, LayerCall(input.detach(), weight.shape, None),
                            batched)

    def _convolution(self, name: str, output: Tensor, input: Tensor, weight: Tensor,
                     bias: Tensor | None = None, stride: int | Sequence[int] = 1,
                     padding: int | str | Sequence[int] = 0, dilation: int | Sequence[int] = 1,
                     groups: int = 1) -> Tensor:
        del bias
        sides = weight.dim() - 2
        dilations = _each(dilation, sides)
        x = input.detach()
        if padding == "same":  # an even kernel reads one more number behind than before
            totals = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
            x = F.pad(x, [n for total in reversed(totals)
                          for n in (total // 2, total - total // 2)])
        pads = (0,) * sides if isinstance(padding, str) else _each(padding, sides)
        call = LayerCall(x, weight.shape, Geometry(_each(stride, sides), pads, dilations, groups))
        return self._record(name, output, input, call, input.dim() == weight.dim())

    def _record(self, name: str, output: Tensor, input: Tensor, call: LayerCall,
                batched: bool) -> Tensor:
        if not torch.is_grad_enabled():
            self.obstacle = f"{name} is applied where gradients are off"
            return output
        if not batched or len(input) != self._samples:
            self.obstacle = f"the leading dimension of the input of {name} is not the samples"
            return output
        if not output.requires_grad:
            self.starts.append(output.requires_grad_())
            output = output.clone()  # what follows may work in place, which a leaf forbids
        version, held = input._version, [(input, call)]

        def take(grad: Tensor) -> None:
            read, call = held.pop()  # its memory is free as soon as it has been used
            if read._version != version:
                raise InputError(f"the input of {name} is changed in place after the layer has "
                                 "read it; no gradient can be taken of such a network")
            self._sink(name, call, grad)

        output.register_hook(take)  # type: ignore[no-untyped-call]
        self.calls[name] += 1
        return output


def _each(value: int | Sequence[int], sides: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * sides if len(values) == 1 else values


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) \
        or (isinstance(value, list | tuple) and any(_holds_tensor(part) for part in value))
