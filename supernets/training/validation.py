"""How good three landmarks of a space are while its supernet trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.protocols import Supernet, Task
from nas.core.space import GeneSpace
from nas.core.types import CODE_DTYPE


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Validates the smallest, a middle and the largest network, each a recalibrated copy.

    Attributes:
        split: Of the task; never the one that a final error is told on.
        batches: Of the split, from its start; None for all.
        calibration_batches: Of ``train_calib``, for batch norm; None for all.

    Raises:
        InputError: No batch, or the test split.
    """

    split: str = "search"
    batches: int | None = None
    calibration_batches: int | None = None

    def __post_init__(self) -> None:
        if self.split == "test":
            raise InputError("the test split is not for validation; use the search split")
        for count in (self.batches, self.calibration_batches):
            if count is not None and count < 1:
                raise InputError(f"validation takes 1 batch or more, not {count}")

    def __call__(self, supernet: Supernet, task: Task) -> dict[str, Mapping[str, float]]:
        """Returns the task's metrics of each of `landmarks`; the supernet is not changed.

        Raises:
            EvaluationError: A network whose outputs are not finite.
            DataError: A split that the task has not.
        """
        found = {}
        for name, arch in landmarks(supernet.space).items():
            module = supernet.recalibrated(
                arch, islice(task.batches("train_calib"), self.calibration_batches))
            found[name] = task.metrics(module, islice(task.batches(self.split), self.batches))
        return found


def landmarks(space: GeneSpace) -> dict[str, Arch]:
    """Returns the ``smallest``, the ``middle`` and the ``largest`` architecture.

    In the middle one every gene has its middle choice; where there are two, genes take the lower
    and the upper one in turn.
    """
    turns = np.arange(len(space.genes)) % 2
    codes = ((space.cardinalities - 1 + turns) // 2).astype(CODE_DTYPE)
    return {"smallest": space.extreme(largest=False),
            "middle": space.decode(space.canonical_codes(codes[None]))[0],
            "largest": space.extreme(largest=True)}
