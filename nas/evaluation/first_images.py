"""Validation on the first images of the split alone: the cheap rung of successive halving."""

from collections.abc import Mapping, Sequence

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.protocols import Batch, quality_of
from nas.evaluation.inherited import InheritedEvaluator


class FirstImages:
    """The `Evaluator` on the first batches of a split that hold a share of its images.

    Whole batches, so that the full validation that may follow computes the rest alone and gives,
    bit for bit, what it gives without. Its cost counts every image that goes through a network:
    those that batch norm is recalibrated with as well, which no share makes fewer.

    Args:
        evaluate: Of full validations, in this process the one that goes on with what was begun.
        share: Of the split's images, at least, 0 … 1.

    Attributes:
        images: In the first batches.
        of: In all of them.
        cost: Of one such validation, in full ones.

    Raises:
        InputError: The share leaves no batch out.
    """

    def __init__(self, evaluate: InheritedEvaluator, *, share: float) -> None:
        self._evaluate = evaluate
        task = evaluate.supernet.task
        batches = list(task.batches(evaluate.split))
        sizes = [len(targets) for _, targets in batches]
        self._batches: Sequence[Batch] = _first(batches, share * sum(sizes))
        calibration = sum(len(targets) for _, targets in task.batches("train_calib"))
        self.images = sum(sizes[:len(self._batches)])
        self.of = sum(sizes)
        self.cost = (calibration + self.images) / (calibration + self.of)
        if self.images == self.of:
            raise InputError(f"--cascade: the {self.of} {quality_of(task).inputs} of the "
                             f"{evaluate.split} split come in {len(sizes)} batches, which cannot "
                             "be divided; leave it out")

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the metrics of an architecture, its quality on the first images."""
        return self._evaluate.begin(arch, self._batches)


def _first(batches: Sequence[Batch], images: float) -> Sequence[Batch]:
    taken: list[Batch] = []
    count = 0
    for batch in batches:
        if count >= images:
            break
        taken.append(batch)
        count += len(batch[1])
    return taken
