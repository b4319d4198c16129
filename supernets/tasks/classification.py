"""What all tasks of image classification have in common.

Legend: B batch, C channels, H and W sides, K classes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError
from nas.core.protocols import Batch

SPLITS = ("train_calib", "search", "test")


def noise(batch: int, input_shape: tuple[int, int, int], rng: np.random.Generator,
          device: torch.device) -> Tensor:
    """Returns random inputs (batch, C, H, W), distributed as normalised pixels."""
    values = rng.standard_normal((batch, *input_shape), dtype=np.float32)
    return torch.from_numpy(values).to(device)


def targets(labels: NDArray[Any], classes: int, device: torch.device) -> Tensor:
    """Returns labels (B,) as int64.

    Raises:
        DataError: A label that has no class.
    """
    if labels.size and int(labels.max()) >= classes:
        raise DataError(f"label {labels.max()} in a task of {classes} classes")
    return torch.from_numpy(labels.astype(np.int64)).to(device)


def cross_entropy(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Returns the mean cross-entropy of logits (B, K) against classes (B,) or shares (B, K)."""
    return F.cross_entropy(outputs, wanted)


def top1_error(model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
    """Returns ``{"error": top-1 error in %}`` of a network in evaluation mode.

    Raises:
        DataError: There is no batch.
        EvaluationError: Logits that are not finite.
    """
    wrong = total = 0
    with torch.inference_mode():
        for x, classes in batches:
            logits = model(x)
            if not bool(torch.isfinite(logits).all()):
                raise EvaluationError("the network's logits are not finite")
            wrong += int((logits.argmax(1) != classes).sum())
            total += len(classes)
    if total == 0:
        raise DataError("validation got no batches")
    return {"error": 100.0 * wrong / total}


def channels_last(x_BCHW: Tensor) -> Tensor:
    """Returns inputs with channels last in memory, those of one channel too."""
    # `contiguous` would leave the strides of one-channel images as they are, and convolutions
    # would then run channels first.
    return torch.empty_like(x_BCHW, memory_format=torch.channels_last).copy_(x_BCHW)


def check_splits(found: Iterable[str]) -> None:
    """Checks the names of a task's splits.

    Raises:
        DataError: One that is none of `SPLITS`.
    """
    unknown = sorted(set(found) - set(SPLITS))
    if unknown:
        raise DataError(f"split {unknown[0]!r} is none of {', '.join(SPLITS)}")


def no_split(split: str, found: Iterable[str]) -> DataError:
    """Returns the error of a task that has no such split."""
    have = ", ".join(found) or "none"
    return DataError(f"this task has no split {split!r}; it has {have}")
