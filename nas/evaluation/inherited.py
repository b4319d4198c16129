"""Quality with inherited weights: extract, recalibrate batch norm, validate. Nothing is trained."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nas.core.arch import Arch
from nas.core.protocols import Batch, CostModel, Supernet
from nas.evaluation.costs import CostMetrics, finite
from nas.evaluation.remembering import Remembering

KEPT = 64  # networks begun and not yet validated in full, of a batch that is being halved


class InheritedEvaluator:
    """The `Evaluator` of weight sharing; a pure function of the architecture, cached by digest.

    Each network is an extracted copy whose batch-norm statistics come from ``train_calib``; the
    supernet is never written to. Weights are laid out channels last, as the images of the task
    are, which is the faster layout on a CPU.

    Args:
        supernet: Whose weights and task are used.
        cost_models: Asked for `metrics`; where two know one, the first is.
        metrics: Cost metrics to report beside the task's quality metrics.
        split: Validated on; ``"search"`` while searching.

    Raises:
        InputError: A metric that no cost model knows.
    """

    def __init__(self, supernet: Supernet, *, cost_models: Sequence[CostModel] = (),
                 metrics: Sequence[str] = (), split: str = "search") -> None:
        self.supernet = supernet
        self.split = split
        self._costs = CostMetrics(supernet.space, cost_models, metrics)
        self._found: dict[str, Mapping[str, float]] = {}
        self._calibration: list[Batch] | None = None  # small, and read for every network
        self._begun: dict[str, Remembering] = {}  # by digest, in the order of beginning

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the quality and cost metrics of an architecture.

        Raises:
            ArchError: An architecture of another space.
            EvaluationError: A metric is not finite.
        """
        arch = self.supernet.space.canonical(arch)
        if arch.digest not in self._found:
            self._found[arch.digest] = finite({**self._quality(arch), **self._costs(arch)}, arch)
        return dict(self._found[arch.digest])

    def begin(self, arch: Arch, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Returns the metrics of an architecture, its quality on the first batches alone.

        If the architecture is validated in full soon, in this process, the work is not done
        again: its network and the outputs are kept, for the last `KEPT` architectures begun. A
        full validation gives the same, bit for bit, whether it was begun or not.

        Args:
            arch: Of the supernet's space.
            batches: The first ones of the split.

        Raises:
            ArchError: An architecture of another space.
            EvaluationError: A metric is not finite.
        """
        arch = self.supernet.space.canonical(arch)
        network = Remembering(self._network(arch))
        quality = self.supernet.task.metrics(network, batches)
        network.rewind()
        self._begun[arch.digest] = network
        while len(self._begun) > KEPT:
            del self._begun[next(iter(self._begun))]
        return dict(finite({**quality, **self._costs(arch)}, arch))

    def _quality(self, arch: Arch) -> Mapping[str, float]:
        task = self.supernet.task
        begun = self._begun.pop(arch.digest, None)
        network = self._network(arch) if begun is None else begun
        return task.metrics(network, task.batches(self.split))

    def _network(self, arch: Arch) -> nn.Module:
        if self._calibration is None:
            self._calibration = list(self.supernet.task.batches("train_calib"))
        module = self.supernet.recalibrated(arch, self._calibration)
        return module.to(memory_format=torch.channels_last)
