"""What a network learns from: labels, a teacher's probabilities.

A `Criterion` is given a batch once and returns what scores outputs, so that a teacher runs once
however many networks of a step learn from it. Legend: B batch, K classes.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError

Loss = Callable[[Any], Tensor]  # outputs → their mean loss on the batch


class Criterion(Protocol):
    """The loss of networks on one batch."""

    def __call__(self, inputs: Any, targets: Any) -> Loss:
        """Returns the loss of any network's outputs for these inputs."""

    def identity(self) -> str:
        """Returns what must be equal for a training to be continued."""


def soft_cross_entropy(student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
    """Returns the mean cross-entropy of the student's logits against the teacher's probabilities.

    In-place distillation (Yu et al., BigNAS, arXiv 2003.11142, section 3.1): the teacher is the
    largest subnet of the same step; no gradient flows into it.
    """
    return F.cross_entropy(student_BK, teacher_BK.detach().softmax(1))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelLoss:
    """Cross-entropy against labels (B,) or probabilities (B, K).

    Attributes:
        smoothing: Share of a label that is spread over all classes.
    """

    smoothing: float

    def __call__(self, inputs: Any, targets: Tensor) -> Loss:
        """Returns the loss of logits (B, K)."""
        del inputs
        return lambda logits: F.cross_entropy(logits, targets, label_smoothing=self.smoothing)

    def identity(self) -> str:
        """Returns its smoothing."""
        return repr(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherLoss:
    """Labels and a frozen teacher: (1 − w)·CE + w·T²·KL(teacher‖student).

    Hinton et al., arXiv 1503.02531, section 2; the defaults are those of TAS (Dong & Yang, arXiv
    1905.09717, section 3.3).

    Attributes:
        teacher: In evaluation mode, on the inputs' device; it is not changed.
        weight: w, of what the teacher says.
        temperature: T.
        smoothing: Of the labels.

    Raises:
        InputError: A teacher in training mode, or a weight or temperature out of range.
    """

    teacher: nn.Module = field(repr=False)
    weight: float = 0.9
    temperature: float = 4.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.teacher.training:
            raise InputError("the teacher is in training mode; give it after .eval()")
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight {self.weight} of the teacher is outside 0 … 1")
        if not self.temperature > 0:
            raise InputError(f"temperature {self.temperature} must be positive")

    def __call__(self, inputs: Any, targets: Tensor) -> Loss:
        """Returns the loss of logits (B, K).

        The loss raises:
            InputError: Logits of another shape than the teacher's.
        """
        with torch.no_grad():
            soft = self.teacher(inputs)

        def loss(logits: Tensor) -> Tensor:
            if logits.shape != soft.shape:
                raise InputError(f"the teacher gives logits {tuple(soft.shape)}, the network "
                                 f"{tuple(logits.shape)}; give a teacher of the same classes")
            hard = F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
            return (1 - self.weight) * hard + self.weight * self._divergence(logits, soft)

        return loss

    def identity(self) -> str:
        """Returns its settings and a checksum of the teacher's weights."""
        checksum = 0
        for tensor in self.teacher.state_dict().values():
            numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            checksum = zlib.crc32(numbers.numpy().data, checksum)
        return f"{self!r} {checksum:08x}"

    def _divergence(self, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        student = (student_BK / self.temperature).log_softmax(1)
        teacher = (teacher_BK / self.temperature).log_softmax(1)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence
