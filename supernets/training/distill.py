"""Distillation losses. Legend: B batch, K classes."""

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
    """Returns the mean cross-entropy of the student's logits against the teacher's probabilities.

    In-place distillation (Yu et al., BigNAS, arXiv 2003.11142, section 3.1): the teacher is the
    largest subnet of the same step; no gradient flows into it.
    """
    return F.cross_entropy(student_BK, teacher_BK.detach().softmax(1))
