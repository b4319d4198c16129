"""Which depth a training step runs: VARiant's progressive schedule, and fixed ratios.

VARiant: arXiv 2511.16546. A step trains a subnet with probability p, else the whole net. The paper
has three phases: joint, p = 0.2; a transition in which p rises to 1; and subnets alone. How a
subnet's depth is drawn it does not say: here it is a setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from supernets.var.config import VarConfig
from supernets.var.space import variant_arch

DRAWS = ("variant", "space")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A part of a training.

    Attributes:
        epochs: How long it lasts, > 0; not necessarily whole.
        start: p at its beginning, 0 … 1.
        end: p at its end; linear in between.
        depths: Of the subnets that are drawn; None: all of the configuration. A phase of one small
            depth alone, before any other, is a cheap start for its layers, the embeddings and the
            head; the other layers learn the bridge scales alone.
        bridges: N of the subnets that are drawn; None: all but that of the whole net. A phase with
            depths or bridges of its own draws VARiant's subnets of these.

    Raises:
        InputError: A value out of range.
    """

    epochs: float
    start: float
    end: float
    depths: tuple[int, ...] | None = None
    bridges: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise InputError(f"a phase lasts more than 0 epochs, not {self.epochs}")
        for share in (self.start, self.end):
            if not 0 <= share <= 1:
                raise InputError(f"probability {share} of a subnet is outside 0 … 1")
        if self.depths == () or self.bridges == ():
            raise InputError("a phase draws from 1 depth and 1 bridge or more; give some, or none "
                             "at all for every one")


def progressive(*, joint: float = 5, transition: float = 15, subnets: float = 10,
                p: float = 0.2) -> tuple[Phase, ...]:
    """Returns VARiant's three phases; epochs and p are the paper's by default, which has 5 to 15
    for the last. A phase of 0 epochs is left out.
    """
    phases = ((joint, p, p), (transition, p, 1.0), (subnets, 1.0, 1.0))
    return tuple(Phase(epochs=epochs, start=start, end=end) for epochs, start, end in phases
                 if epochs)


def fixed(epochs: float, p: float) -> tuple[Phase, ...]:
    """Returns one phase of a constant p."""
    return (Phase(epochs=epochs, start=p, end=p),)


@dataclass(frozen=True, kw_only=True)
class DepthSchedule:
    """The sampling rule of a training of depths, a pure function of the step.

    Attributes:
        config: The family member.
        phases: One after the other; the last one goes on for as long as the training does.
        steps_per_epoch: Of the training.
        draw: ``variant``: a uniform N, then a uniform depth for all flexible scales. ``space``: N
            uniform, then a falling sequence of depths, all alike in probability.
        distilled: Whether the whole net runs in a subnet's step too, and teaches it.

    Raises:
        InputError: No phase, another draw, or depths and bridges that the configuration has not.
    """

    config: VarConfig
    phases: tuple[Phase, ...]
    steps_per_epoch: int
    draw: str = "variant"
    distilled: bool = False

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("a schedule of depths has 1 phase or more; give one")
        if self.draw not in DRAWS:
            raise InputError(f"depths are drawn by {' or '.join(DRAWS)}, not {self.draw!r}")
        for phase in self.phases:
            for what, mine, known in (("depths", phase.depths, self.config.depths),
                                      ("bridges", phase.bridges, self._bridges)):
                if mine is None:
                    continue
                if not set(mine) <= set(known):
                    raise InputError(f"{what} {mine} of a phase are not all among {known} of "
                                     f"{self.config.name}")

    @property
    def teaches(self) -> bool:
        """Whether the whole net teaches the subnet of its step."""
        return self.distilled

    def probability(self, epoch: float) -> float:
        """Returns p at a time, in epochs from the beginning."""
        phase, begin = self._phase(epoch)
        done = min(1.0, (epoch - begin) / phase.epochs)
        return phase.start + (phase.end - phase.start) * done

    def __call__(self, space: GeneSpace, rng: np.random.Generator, step: int, /) -> Sequence[Arch]:
        """Returns the whole net, a subnet, or, where it is taught, both."""
        epoch = step / self.steps_per_epoch
        whole = space.extreme(largest=True)
        if rng.random() >= self.probability(epoch):
            return [whole]
        subnet = self._subnet(space, rng, epoch)
        return [whole, subnet] if self.distilled else [subnet]

    @property
    def _bridges(self) -> tuple[int, ...]:
        return tuple(n for n in self.config.bridges if n < self.config.scales)

    def _subnet(self, space: GeneSpace, rng: np.random.Generator, epoch: float) -> Arch:
        phase, _ = self._phase(epoch)
        if self.draw == "space" and phase.depths is None and phase.bridges is None:
            whole = space.extreme(largest=True)
            while (arch := space.decode(space.sample_codes(1, rng))[0]) == whole:
                pass
            return arch
        bridges, depths = phase.bridges or self._bridges, phase.depths or self.config.depths
        return variant_arch(self.config, bridge=bridges[int(rng.integers(len(bridges)))],
                            depth=depths[int(rng.integers(len(depths)))])

    def _phase(self, epoch: float) -> tuple[Phase, float]:
        # The phase of a time, and when it began.
        begin = 0.0
        for phase in self.phases[:-1]:
            if epoch < begin + phase.epochs:
                return phase, begin
            begin += phase.epochs
        return self.phases[-1], begin
