"""The seams: what each independent part promises the others. Shapes are in `nas.core.types`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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

    from nas.core.problem import Objective

Batch = tuple[Any, Any]  # (inputs, targets), tensors on the task's device


@dataclass(frozen=True, slots=True)
class Signature:
    """What an exported network's input and output are called, and which axes have any size.

    Attributes:
        input: Name of the input.
        output: Name of the output.
        axes: Names of the input's first axes, all that have no fixed size.
        shortest: Smallest size of each of these but the batch's.
    """

    input: str = "input"
    output: str = "logits"
    axes: tuple[str, ...] = ("batch",)
    shortest: int = 1


@dataclass(frozen=True, slots=True)
class Quality:
    """What a task's ``error`` is, for people.

    Attributes:
        error: In one line; empty where it is what everybody expects: inputs classified wrongly.
        inputs: What it is found on, in the plural.
        name: What its figures are called.
        unit: Of its figures; empty where they have none.
    """

    error: str = ""
    inputs: str = "images"
    name: str = "error"
    unit: str = "%"

    def shown(self, value: float) -> str:
        """Returns a figure with its unit, such as ``8.40 %``."""
        return f"{value:.2f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()

    @property
    def label(self) -> str:
        """What stands over a column or beside an axis, such as ``error [%]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


class Task(Protocol):
    """What inputs, loss and quality mean: images, speech, visual tokens.

    One whose exported networks have other names or free axes than `Signature` has a `signature`;
    one whose error is not the share of images that are classified wrongly has a `quality`. One
    whose test inputs are no tensors of one shape has `export_inputs`.
    """

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Any:
        """Returns random inputs of the right shape, for export and counting."""

    def batches(self, split: str) -> Iterable[Batch]:
        """Yields the batches of ``"train_calib"``, ``"search"`` or ``"test"``, always in order."""

    def loss(self, outputs: Any, targets: Any) -> "Tensor":
        """Returns the mean training loss of a batch."""

    def metrics(self, model: "nn.Module", batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns the quality of a network on the batches, such as ``{"error": 8.4}``."""

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns what an exported file says of itself: preprocessing and label names."""


def signature_of(task: Task) -> Signature:
    """Returns a task's signature, or that of images where it has none."""
    found: Signature = getattr(task, "signature", Signature())
    return found


def quality_of(task: Task) -> Quality:
    """Returns what a task's error is, or that of images where it does not say."""
    found: Quality = getattr(task, "quality", Quality())
    return found


def export_inputs_of(task: Task) -> "Iterable[Tensor]":
    """Yields batches of the test split's inputs, tensors (N, …) of one shape but for N.

    They come from a task's `export_inputs`, a method without arguments that returns one such
    tensor, or else from its batches.
    """
    if hasattr(task, "export_inputs"):
        yield task.export_inputs()
    else:
        for inputs, _ in task.batches("test"):
            yield inputs


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
    """A score of an untrained or inherited network; higher is better.

    The model comes back bit for bit as it was: weights, buffers, modes, gradients, hooks.
    """

    def __call__(self, model: "nn.Module", batch: Batch, *, loss: Callable[..., "Tensor"],
                 rng: np.random.Generator) -> float:
        """Returns the score of the model.

        Args:
            model: Any network with Conv or Linear layers.
            batch: Inputs and targets, on the model's device.
            loss: (outputs, targets) → the MEAN loss of the batch.
            rng: For proxies that draw something.

        Raises:
            InputError: The model or the batch is not what this proxy needs.
            EvaluationError: The score is not finite; the message names the layer.
        """


class SaliencyProxy(ZeroCostProxy, Protocol):
    """A proxy that is the sum of a score of every parameter."""

    def scores(self, model: "nn.Module", batch: Batch, *, loss: Callable[..., "Tensor"],
               rng: np.random.Generator) -> Mapping[str, "Tensor"]:
        """Returns by parameter name the score of every number in it, in the parameter's shape."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a predictor says of N architectures: mean and standard deviation, (N,) each."""

    mean: FloatArray
    std: FloatArray


class Predictor(Protocol):
    """Learns a metric from features of architectures that were evaluated."""

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """Learns from features (N, F) and values (N,), in place of what was learnt before.

        Raises:
            InputError: Too few rows, constant values, or a number that is not finite.
        """

    def predict(self, x: FloatArray) -> Prediction:
        """Returns what it expects for features (M, F)."""


class Evaluator(Protocol):
    """The expensive part: an architecture → its metrics."""

    def __call__(self, arch: Arch) -> Mapping[str, float]: ...


class EpochEvaluator(Evaluator, Protocol):
    """An evaluator that trains: after each epoch it knows metrics of lower fidelity.

    What it did is in files, so that any process may go on with it.

    Attributes:
        objectives: Of the search.
        folder: Of its files; on a cluster, one that all nodes share.
    """

    objectives: "Sequence[Objective]"
    folder: Path

    @property
    def total_epochs(self) -> int:
        """After which a network is fully trained."""

    def epochs(self, arch: Arch) -> Iterator[Mapping[str, float]]:
        """Yields the metrics after each epoch; those that were made before, without work."""

    def abandon(self, arch: Arch) -> None:
        """Removes what only further training of a network needs."""

    def histories(self) -> Mapping[str, Sequence[Mapping[str, float]]]:
        """Returns what was found after each epoch of every network so far, by digest."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What the early exits said of N codes: which passed, (N,), and how many left where."""

    passed: BoolArray
    exits: Mapping[str, int]


class Screen(Protocol):
    """The early exits in front of the evaluator, cheapest first; pure, so that searchers count."""

    def __call__(self, codes: IntArray) -> Screening: ...


class Gate(Protocol):
    """Early exits that learn while a search runs, behind the screen; one candidate at a time.

    Its answers are a pure function of what it was asked and told, in that order, so that a
    resumed search replays them.
    """

    @property
    def names(self) -> Sequence[str]:
        """Of its exits, as they are counted."""

    def __call__(self, arch: Arch) -> str | None:
        """Returns the exit at which a candidate leaves, or None if it is worth a trial."""

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes of trials that it let pass, sorted by trial id."""

    def record(self) -> Mapping[str, Any]:
        """Returns what it found out since it was last told: JSON values, for the ledger."""

    def recall(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Takes what an earlier process recorded, so that nothing is computed twice."""


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

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there.

        Args:
            evaluate: The same object in every call, so that workers are sent it once.
            trials: Any number.
        """

    def close(self) -> None:
        """Ends what it started: workers, actors, shared memory. It may be called twice."""
