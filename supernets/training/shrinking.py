"""Progressive shrinking: what a space's genes may be, as training goes on."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene, GeneSpace
from nas.core.types import CODE_DTYPE, IntArray

# The last word of a gene's name → its phase; all other genes are widths of some sort.
_PHASE = {"resolution": -1, "kernel": 0, "depth": 1}
_WIDTH = 2
_PHASES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressiveShrinking:
    """The largest, and random ones of a space that grows: kernel, then depth, then width.

    Cai et al., Once-for-all, arXiv 1908.09791, section 3.3. Each phase takes a third of the
    training and opens its genes' choices one by one, from the largest down, in equal times.
    Genes that are not open yet stay at their largest; the resolution is open from the start. It
    deviates from the paper in that the phases are equally long, kernels open one by one too, and
    the teacher is the largest network as it is now; give the trainer a criterion with a frozen
    one to have the paper's.

    Attributes:
        total_steps: Of the whole training.
        count: Random architectures a step.
    """

    total_steps: int
    count: int = 2
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.total_steps < 1 or self.count < 1:
            raise InputError(f"progressive shrinking takes 1 step and 1 architecture or more, not "
                             f"{self.total_steps} and {self.count}")

    def __call__(self, space: GeneSpace, rng: np.random.Generator, step: int, /) -> list[Arch]:
        """Returns count + 1 architectures, the largest first.

        Raises:
            InputError: A step outside the training.
        """
        opened = self.opened(space, step)
        drawn = rng.integers(0, opened, size=(self.count, len(opened)))
        # Not by `sample_codes`: genes that a drawn depth makes dead are reset there, and would
        # be at their smallest when the depth is set back to its largest.
        codes = (space.cardinalities - 1 - drawn).astype(CODE_DTYPE)
        return [space.extreme(largest=True), *space.decode(space.canonical_codes(codes))]

    def opened(self, space: GeneSpace, step: int) -> IntArray:
        """Returns how many choices of each gene, counted from the largest, are open, (genes,).

        Raises:
            InputError: A step outside the training.
        """
        if not 0 <= step < self.total_steps:
            raise InputError(f"step {step} is outside the {self.total_steps} of progressive "
                             "shrinking")
        progress = _PHASES * step / self.total_steps
        return np.array([_opened(gene, progress) for gene in space.genes])


def _opened(gene: Gene, progress: float) -> int:
    choices = len(gene.choices)
    within = progress - _PHASE.get(gene.name.rpartition(".")[2], _WIDTH)
    if within < 0:
        return 1
    # A phase has as many equal parts as there are choices to open.
    return min(choices, 2 + int(within * (choices - 1)))
