"""Writes down the operators that a module calls, as a block graph.

The module runs on the meta device with a batch of `BATCH`, a large prime: an axis whose size it
divides holds the batch, wherever a module moves it to, and is left out of the shapes in the graph.
Operators are seen at the level of `torch.nn.functional` and tensor methods, so that linear layers,
norms and attention come whole. What does not depend on the input is a constant: it is computed as
ever, and the parameters that it came from are counted in the first operator that reads it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.core.blocks import Attribute, BlockGraph, OpSpec, TensorSpec
from nas.core.costs import shape_params
from nas.core.errors import SpaceError
from supernets.tracing.batch import broadcast, leading_batch, without_batch

Attributes = Sequence[tuple[str, Attribute]]
Handler = Callable[..., Any]  # (recorder, what the operator takes) → what the operator gives

# Learnt numbers of these do not follow from shapes.
_CONSTANT_KINDS = frozenset({"scale", "shift", "prepend"})
_BROADCASTING = frozenset({"add", "sub", "mul", "div"})
_ASSIGNING = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv", "idiv": "div"}


@dataclass(frozen=True, slots=True)
class _Traced:
    tensor: Tensor  # kept alive: an id is not used twice
    spec: TensorSpec
    shape: tuple[int, ...]  # of the whole tensor as it was recorded, before it was expanded
    part: int


class Recorder(TorchFunctionMode):
    """A context in which every operator on a traced tensor becomes a node of the current part.

    Args:
        operators: Name of a torch function or method, without underscores around it → handler.
    """

    def __init__(self, operators: Mapping[str, Handler]) -> None:
        super().__init__()
        self._operators = operators
        self._traced: dict[int, _Traced] = {}
        self._origins: dict[int, tuple[Tensor, frozenset[nn.Parameter]]] = {}
        self._counted: set[nn.Parameter] = set()
        self._nodes: list[OpSpec] = []
        self._input = TensorSpec("x", ())
        self._part = 0

    def begin(self, x: Tensor) -> None:
        """Starts a new part of the graph, with this tensor as its input.

        Raises:
            SpaceError: Its batch axis is not the first.
        """
        self._part += 1
        self._nodes = []
        self._input = TensorSpec("x", leading_batch(x))
        self._traced[id(x)] = _Traced(x, self._input, tuple(x.shape), self._part)

    def finish(self, output: Any) -> BlockGraph | None:
        """Returns what leads from the part's input to its output; None if that is no operator.

        Raises:
            SpaceError: The output is no tensor of this part, or its batch axis is not the first.
        """
        if not isinstance(output, Tensor) or id(output) not in self._traced:
            raise SpaceError(f"gives {type(output).__name__}, not one tensor made of its input")
        leading_batch(output)
        needed = {self._of_part(output).spec.name}
        nodes = []
        for node in reversed(self._nodes):
            if node.output.name in needed:
                nodes.append(node)
                needed.update(node.inputs)
        return BlockGraph((self._input,), tuple(reversed(nodes))) if nodes else None

    def is_traced(self, value: object) -> bool:
        """Returns whether a value is a tensor that depends on the input."""
        return id(value) in self._traced

    def fold(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        """Returns what a function makes of constants, which is a constant."""
        result: Tensor = self._folded(function, args, {})
        return result

    def emit(self, kind: str, inputs: Sequence[Tensor], result: Tensor, *, kernel: int = 1,
             stride: int = 1, groups: int = 1, bias: bool = False, attributes: Attributes = (),
             learnt: Sequence[Tensor | None] = ()) -> Tensor:
        """Adds a node and returns its result.

        Args:
            kind: Of `OpSpec`.
            inputs: Traced tensors.
            result: A new meta tensor of the shape that the operator gives.
            kernel: As in `OpSpec`; so are stride, groups, bias and attributes.
            stride: As above.
            groups: As above.
            bias: As above.
            attributes: As above.
            learnt: The operator's weights, which may be constants made of parameters.
        """
        sources = [self._of_part(tensor) for tensor in inputs]
        if any(tuple(tensor.shape) != source.shape
               for tensor, source in zip(inputs, sources, strict=True)):
            shapes = [source.shape for source in sources]
            if kind not in _BROADCASTING or broadcast(*shapes) != tuple(result.shape):
                raise SpaceError(f"operator {kind!r} on an expanded tensor has no block graph form")
        spec = TensorSpec(f"t{len(self._nodes)}", without_batch(result.shape))
        node = OpSpec(kind, tuple(source.spec.name for source in sources), spec, kernel, stride,
                      groups, bias, tuple(attributes))
        params = self._learnt_numbers(learnt)
        if kind in _CONSTANT_KINDS or params != shape_params(node, sources[0].spec.shape):
            node = OpSpec(kind, node.inputs, spec, kernel, stride, groups, bias,
                          (*attributes, ("params", params)))
        self._nodes.append(node)
        self._traced[id(result)] = _Traced(result, spec, tuple(result.shape), self._part)
        return result

    def alias(self, x: Tensor, result: Tensor) -> Tensor:
        """Makes the result, x expanded, another form of x: only broadcasting operators take it."""
        source = self._of_part(x)
        self._traced[id(result)] = _Traced(result, source.spec, source.shape, self._part)
        return result

    def __torch_function__(self, function: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        """Records, folds or answers a call of torch; see the head of this file."""
        kwargs = dict(kwargs or {})
        if not any(id(tensor) in self._traced for tensor in _tensors(args, kwargs)):
            return self._folded(function, args, kwargs)
        name = getattr(function, "__name__", str(function))
        plain = name.strip("_")
        handler = self._operators.get(_ASSIGNING.get(plain, plain))
        if handler is None:
            return self._query(function, name, args, kwargs)
        in_place = bool(kwargs.pop("inplace", False)) or plain in _ASSIGNING or (
            name.endswith("_") and not name.startswith("_"))
        result = handler(self, *args, **kwargs)
        if in_place:
            # Whoever reads the overwritten tensor later reads the result.
            self._traced[id(args[0])] = replace(self._of_part(result), tensor=args[0])
            return args[0]
        return result

    def _folded(self, function: Any, args: Any, kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        origins: frozenset[nn.Parameter] = frozenset().union(
            *map(self._origins_of, _tensors(args, kwargs)))
        if origins:
            for tensor in _tensors((result,), {}):
                self._origins[id(tensor)] = (tensor, origins)
        return result

    def _query(self, function: Any, name: str, args: Any, kwargs: Any) -> Any:
        # Shapes, devices, numbers of axes: an answer without a tensor changes no graph.
        result = function(*args, **kwargs)
        if any(True for _ in _tensors((result,), {})) or (result is None and name != "__get__"):
            known = getattr(function, "__self__", None) if name == "__get__" else None
            raise SpaceError(f"operator {getattr(known, '__name__', name)!r} has no block graph "
                             "form; add it to supernets.tracing")
        return result

    def _origins_of(self, tensor: Tensor) -> frozenset[nn.Parameter]:
        if isinstance(tensor, nn.Parameter):
            return frozenset((tensor,))
        return self._origins[id(tensor)][1] if id(tensor) in self._origins else frozenset()

    def _learnt_numbers(self, tensors: Sequence[Tensor | None]) -> int:
        fresh: set[nn.Parameter] = set()
        for tensor in tensors:
            if tensor is not None:
                fresh |= self._origins_of(tensor) - self._counted
        self._counted |= fresh
        return sum(parameter.numel() for parameter in fresh)

    def _of_part(self, tensor: Tensor) -> _Traced:
        if id(tensor) not in self._traced:
            raise SpaceError("an operator reads a constant where only a tensor that depends on the "
                             "input has a block graph form")
        traced = self._traced[id(tensor)]
        if traced.part != self._part:
            raise SpaceError("an operator reads a tensor that was made before the block in front "
                             "of it; such a network cannot be cut into blocks")
        return traced


def _tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from (item for item in value if isinstance(item, Tensor))
