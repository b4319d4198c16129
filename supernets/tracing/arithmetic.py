"""Sums, products, reductions and attention, as nodes of a block graph.

Every function takes the recorder and then what the torch function of that name takes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nas.core.errors import SpaceError
from supernets.tracing.batch import BATCH, broadcast, like, one_image
from supernets.tracing.layers import linear, softmax
from supernets.tracing.movement import transpose
from supernets.tracing.recorder import Handler, Recorder

Operand = Tensor | float
Axes = int | Sequence[int] | None


def add(recorder: Recorder, x: Operand, y: Operand, *, alpha: float = 1) -> Tensor:
    """The sum of two tensors, or of a tensor and a constant."""
    if alpha != 1:
        raise SpaceError("add with a factor of its own has no block graph form")
    return _commutative(recorder, ("add", "shift", "add_scalar"), x, y)


def mul(recorder: Recorder, x: Operand, y: Operand) -> Tensor:
    """The product of two tensors, or of a tensor and a constant."""
    return _commutative(recorder, ("mul", "scale", "mul_scalar"), x, y)


def sub(recorder: Recorder, x: Operand, y: Operand, *, alpha: float = 1) -> Tensor:
    """The difference of two tensors, or of a tensor and a constant."""
    if isinstance(x, Tensor) and isinstance(y, Tensor) and (
            recorder.is_traced(x) and recorder.is_traced(y)):
        if alpha != 1:
            raise SpaceError("sub with a factor of its own has no block graph form")
        return _binary(recorder, "sub", x, y)
    # A constant's sign is the constant's; x goes with its own.
    if not recorder.is_traced(x):
        return add(recorder, mul(recorder, y, -1.0), x)
    return add(recorder, x, y if isinstance(y, Tensor) else -y)


def div(recorder: Recorder, x: Operand, y: Operand) -> Tensor:
    """The quotient of two tensors, or of a tensor and a constant."""
    if not isinstance(x, Tensor) or not recorder.is_traced(x):
        raise SpaceError("a constant divided by a tensor has no block graph form")
    if not isinstance(y, Tensor):
        return mul(recorder, x, 1.0 / y)
    # One over a constant is a constant.
    return _binary(recorder, "div", x, y) if recorder.is_traced(y) else mul(recorder, x, y)


def addcmul(recorder: Recorder, x: Operand, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """Returns x + value · a · b."""
    product = mul(recorder, a, b)
    return add(recorder, x, product if value == 1 else mul(recorder, product, value))


def matmul(recorder: Recorder, x: Tensor, y: Tensor) -> Tensor:
    """The product over the last two axes; one of the two may be a constant."""
    if x.dim() < 2 or y.dim() < 2:
        raise SpaceError("matmul of a vector has no block graph form")
    if x.shape[-1] % BATCH == 0:
        raise SpaceError("matmul mixes the images of a batch")
    if x.shape[-1] != y.shape[-2]:
        raise SpaceError(f"matmul: sizes {x.shape[-1]} and {y.shape[-2]} do not fit")
    if not recorder.is_traced(y) and y.dim() == 2:
        return linear(recorder, x, recorder.fold(torch.t, y))
    batches = broadcast(x.shape[:-2], y.shape[:-2])
    result = torch.empty((*batches, x.shape[-2], y.shape[-1]), device="meta")
    if recorder.is_traced(x):
        return recorder.emit("matmul", (x, y), result)
    return recorder.emit("matmul", (y,), result, attributes=(("left", one_image(x)),),
                         learnt=(x,))


def scaled_dot_product_attention(
        recorder: Recorder, query: Tensor, key: Tensor, value: Tensor,
        attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
        scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    """Attention, taken apart: a scaled query, product with the keys, softmax, product."""
    if is_causal or enable_gqa or dropout_p or (
            attn_mask is not None and attn_mask.dtype == torch.bool):
        raise SpaceError("attention that is causal, grouped or masked has no block graph form")
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    query = (mul(recorder, query, factor) if recorder.is_traced(query)
             else recorder.fold(torch.mul, query, factor))
    scores = matmul(recorder, query, transpose(recorder, key, -2, -1))
    if attn_mask is not None:
        scores = add(recorder, scores, attn_mask)
    return matmul(recorder, softmax(recorder, scores, -1), value)


def mean(recorder: Recorder, x: Tensor, dim: Axes = None, keepdim: bool = False,
         dtype: torch.dtype | None = None) -> Tensor:
    """The mean over axes."""
    del dtype
    axes = _axes(x, dim)
    result = x.mean(axes, keepdim)
    if x.dim() == 4 and axes == (2, 3) and keepdim:
        return recorder.emit("global_avg_pool", (x,), result)
    return _reduction(recorder, "mean", x, result, axes, keepdim)


def amax(recorder: Recorder, x: Tensor, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """The maximum over axes."""
    axes = _axes(x, dim)
    return _reduction(recorder, "max", x, x.amax(axes, keepdim), axes, keepdim)


def norm(recorder: Recorder, x: Tensor, p: float | str | None = 2, dim: Axes = None,
         keepdim: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """The Euclidean norm over axes."""
    del dtype
    if p != 2:
        raise SpaceError(f"norm of order {p!r} has no block graph form")
    axes = _axes(x, dim)
    result = torch.linalg.vector_norm(x, 2, axes, keepdim)
    return _reduction(recorder, "l2_norm", x, result, axes, keepdim)


def normalize(recorder: Recorder, x: Tensor, p: float = 2.0, dim: int = 1,
              eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Divided by the norm over one axis; `eps` changes no cost and is not kept."""
    del eps
    if out is not None:
        raise SpaceError("normalize into a tensor of its own has no block graph form")
    return _binary(recorder, "div", x, norm(recorder, x, p, dim, True))


def _reduction(recorder: Recorder, kind: str, x: Tensor, result: Tensor, axes: tuple[int, ...],
               keepdim: bool) -> Tensor:
    return recorder.emit(kind, (x,), result, attributes=(("axes", axes), ("keep", int(keepdim))))


def _commutative(recorder: Recorder, kinds: tuple[str, str, str], x: Operand,
                 y: Operand) -> Tensor:
    of_tensors, of_constant, of_number = kinds
    if not recorder.is_traced(x):
        x, y = y, x
    assert isinstance(x, Tensor)
    if not isinstance(y, Tensor):
        return recorder.emit(of_number, (x,), like(x), attributes=(("value", float(y)),))
    if recorder.is_traced(y):
        return _binary(recorder, of_tensors, x, y)
    shape = one_image(y)
    if broadcast(x.shape, shape) != tuple(x.shape):
        raise SpaceError(f"{of_tensors} with a constant of more elements than the tensor has no "
                         "block graph form")
    return recorder.emit(of_constant, (x,), like(x), attributes=(("shape", shape),), learnt=(y,))


def _binary(recorder: Recorder, kind: str, x: Tensor, y: Tensor) -> Tensor:
    result = torch.empty(broadcast(x.shape, y.shape), device="meta")
    return recorder.emit(kind, (x, y), result)


def _axes(x: Tensor, dim: Axes) -> tuple[int, ...]:
    dims = range(x.dim()) if dim is None else (dim,) if isinstance(dim, int) else dim
    return tuple(sorted(axis % x.dim() for axis in dims))


def _swapped(operator: Handler) -> Handler:
    return lambda recorder, x, y: operator(recorder, y, x)


def _vector_norm(recorder: Recorder, x: Tensor, ord: float = 2, dim: Axes = None,
                 keepdim: bool = False, **_: Any) -> Tensor:
    return norm(recorder, x, ord, dim, keepdim)


ARITHMETIC: dict[str, Handler] = {
    "add": add, "radd": add, "mul": mul, "multiply": mul, "rmul": mul, "sub": sub,
    "rsub": _swapped(sub), "div": div, "truediv": div, "addcmul": addcmul, "matmul": matmul,
    "bmm": matmul, "scaled_dot_product_attention": scaled_dot_product_attention, "mean": mean,
    "amax": amax, "norm": norm, "linalg_vector_norm": _vector_norm, "vector_norm": _vector_norm,
    "normalize": normalize,
}
