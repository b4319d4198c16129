"""Whether ONNX Runtime gives the answers that torch gave. Legend: N inputs, K classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

TOLERANCE = 1e-4  # largest allowed difference of a logit
OTHER_SIZES = ("half", "twice")  # of `at_other_sizes`

F32Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How two sets of logits of the same inputs differ.

    Attributes:
        inputs: How many were compared.
        max_abs_diff: Of any logit; not finite if a logit is not.
        top1_changed: Inputs with another best class although the two best logits of the
            reference differ by more than the tolerance.
    """

    inputs: int
    max_abs_diff: float
    top1_changed: int

    @property
    def ok(self) -> bool:
        """Whether the two agree."""
        return self.max_abs_diff <= TOLERANCE and self.top1_changed == 0  # NaN compares false

    def __str__(self) -> str:
        return (f"{self.inputs} inputs: max |Δlogit| {self.max_abs_diff:.1e} (allowed "
                f"{TOLERANCE:.0e}), top-1 changed {self.top1_changed}")


def compare(reference: F32Array, found: F32Array) -> Parity:
    """Returns the difference of logits (N, …, K); shapes that differ count as not finite."""
    inputs = len(reference)
    if reference.shape != found.shape:
        return Parity(inputs=inputs, max_abs_diff=float("inf"), top1_changed=inputs)
    difference = np.abs(reference.astype(np.float64) - found)
    best = np.sort(reference, axis=-1)[..., -2:]
    clear = best[..., -1] - best[..., 0] > TOLERANCE
    changed = clear & (reference.argmax(-1) != found.argmax(-1))
    return Parity(inputs=inputs, max_abs_diff=float(difference.max(initial=0.0)),
                  top1_changed=int(changed.reshape(inputs, -1).any(axis=1).sum()))


def at_other_sizes(inputs: F32Array, *, free: int, shortest: int) -> dict[str, F32Array]:
    """Returns inputs (N, …) that differ in size from these along their free axes.

    Args:
        inputs: What to make them of.
        free: How many axes behind the first are free.
        shortest: Their smallest size.

    Returns:
        Name → inputs, half as long along each free axis (or the shortest), and twice as long by
        being repeated; nothing where no axis is free.
    """
    if not free:
        return {}
    axes = range(1, 1 + free)
    half = inputs[(slice(None), *(slice(max(shortest, inputs.shape[axis] // 2)) for axis in axes))]
    twice = np.tile(inputs, [2 if axis in axes else 1 for axis in range(inputs.ndim)])
    return dict(zip(OTHER_SIZES, (np.ascontiguousarray(half), twice), strict=True))


def open_session(model: bytes) -> Any:
    """Returns an ONNX Runtime session of a serialised model, on one CPU thread and silent."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: Any, inputs: F32Array, *, batch: int) -> F32Array:
    """Returns the first output for inputs (N, …), run in batches of this many."""
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[start:start + batch]})[0]
             for start in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def run_all(session: Any, inputs: F32Array, *, batch: int) -> dict[str, F32Array]:
    """Returns every output by name for inputs (N, …), run in batches of this many."""
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[start:start + batch]})
             for start in range(0, len(inputs), batch)]
    return {output.name: np.concatenate([part[place] for part in parts])
            for place, output in enumerate(session.get_outputs())}


def largest_difference(reference: F32Array, found: F32Array) -> float:
    """Returns the largest difference of two arrays, as a share of the reference's largest number.

    Where that is below 1, it is the difference itself. Shapes that differ count as infinite.
    """
    if reference.shape != found.shape:
        return float("inf")
    difference = np.abs(reference.astype(np.float64) - found).max(initial=0.0)
    return float(difference / max(1.0, float(np.abs(reference).max(initial=0.0))))
