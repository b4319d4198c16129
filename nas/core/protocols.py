"""The seams: what each independent part promises the others. Shapes are in `nas.core.types`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.costs import Estimate
from nas.core.space import GeneSpace
from nas.core.trial import Outcome, Trial
from nas.core.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = tuple[Any, Any]  # (inputs, targets), tensors on the task's device


class Task(Protocol):
    """What inputs, loss and quality mean: images, speech, visual tokens."""

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Any:
        """Returns random inputs of the right shape, for export and counting."""

    def batches(self, split: str) -> Iterable[Batch]:
        """Yields the batches of ``"train_calib"``, ``"search"`` or ``"test"``, always in order."""

    def loss(self, outputs: Any, targets: Any) -> "Tensor":
        """Returns the mean training loss of a batch."""

    def metrics(self, model: "nn.Module", batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns the quality of a network on the batches, such as ``{"error": 8.4}`` in %."""

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns what an exported file says of itself: preprocessing and label names."""


class Supernet(Protocol):
    """Shared weights of every network of a space; stateless: the subnet is an argument."""

    space: GeneSpace
    task: Task

    def __call__(self, inputs: Any, arch: Arch) -> Any: ...
    def extract(self, arch: Arch) -> "nn.Module": ...
    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> "nn.Module": ...
    @property
    def vocabulary(self) -> Sequence[Block]: ...
    def block_ids(self, codes: IntArray) -> IntArray: ...


class CostModel(Protocol):
    """Costs of networks that need no run of the network: closed forms, tables, estimates."""

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the metric of each code; an unknown block raises."""

    def block_table(self, metric: str) -> FloatArray | None:
        """Returns the cost of each vocabulary block, or None for a whole-network model."""


class ZeroCostProxy(Protocol):
    """A score of an untrained or inherited network; higher is better."""

    def __call__(self, model: "nn.Module", batch: Batch, *, loss: Callable[..., "Tensor"],
                 rng: np.random.Generator) -> float: ...


class Evaluator(Protocol):
    """The expensive part: an architecture → its metrics."""

    def __call__(self, arch: Arch) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class Screening:
    """What the early exits said of N codes: which passed, (N,), and how many left where."""

    passed: BoolArray
    exits: Mapping[str, int]


class Screen(Protocol):
    """The early exits in front of the evaluator, cheapest first; pure, so that searchers count."""

    def __call__(self, codes: IntArray) -> Screening: ...


class Searcher(Protocol):
    """Proposes trials and learns from outcomes; a pure function of what it was told."""

    @property
    def counts(self) -> Mapping[str, int]:
        """``"sampled"`` candidates so far, and for each early exit's name how many left there."""

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns up to n new trials; fewer only where the space is exhausted."""

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes of asked trials, sorted by trial id."""


class Executor(Protocol):
    """Runs trials, in any order; a trial that fails is an `Outcome`, never an exception."""

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]: ...
