"""Trains every subnet of a supernet at once; checkpoints, and resumes as if never stopped."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Supernet, Task
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from supernets.training.board import Board
from supernets.training.checkpoint import Checkpoint
from supernets.training.data import Batches
from supernets.training.distill import Criterion, LabelLoss, Loss, soft_cross_entropy
from supernets.training.processes import Processes, started
from supernets.training.recipe import Recipe
from supernets.training.sampling import SamplingRule, Sandwich
from supernets.training.updates import Part, Updates
from supernets.training.validation import Validation


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Recipe):
    """How to train a supernet.

    Attributes:
        teaching: What share of the loss the first network's probabilities are, in those networks
            of a step that it teaches; the rest is that against labels. With 1, as BigNAS has it,
            they never see a label: in a short training, where the first network knows little for
            long, that costs accuracy.
        checkpoint_s: Seconds between checkpoints.

    Raises:
        InputError: A share outside 0 … 1, or as of `Recipe`.
    """

    teaching: float = 1.0
    checkpoint_s: float = 120.0

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if not 0.0 <= self.teaching <= 1.0:
            raise InputError(f"teaching {self.teaching} must be a share, 0 … 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after a step.

    Attributes:
        step: Counted from 1.
        total_steps: Of the training.
        steps_per_epoch: Of each pass over the data.
        loss: Of the step's first architecture.
        learning_rate: That the step was made with.
    """

    step: int
    total_steps: int
    steps_per_epoch: int
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Validated:
    """What validation found after an epoch.

    Attributes:
        epoch: Counted from 1.
        results: ``smallest``, ``middle`` and ``largest`` → the task's metrics.
    """

    epoch: int
    results: Mapping[str, Mapping[str, float]]


class Trainable(Protocol):
    """What is trained: an `nn.Module` whose subnet is an argument; a `Supernet` is one."""

    @property
    def space(self) -> GeneSpace:
        """Of the architectures."""

    def __call__(self, inputs: Any, arch: Arch) -> Any: ...


Forward = Callable[[Any, Any, Arch], Any]  # supernet, inputs, architecture → outputs


def _call(supernet: Trainable, inputs: Any, arch: Arch) -> Any:
    return supernet(inputs, arch)


@dataclass(kw_only=True)
class Trainer:
    """One training run of a supernet.

    Where a launcher started several processes, each runs one of these; the first one alone
    writes files and reports.

    Attributes:
        supernet: Any that is an `nn.Module`; trained in place, where it lies.
        task: Of the batches; validates, and then the supernet is a `Supernet`. It may be None
            where nothing is validated.
        data: The batches.
        config: How.
        checkpoint: File of the checkpoints; read first if it exists.
        rule: Which architectures a step runs, and whether the first one teaches the others.
        criterion: The loss of the first one, and of the others if it does not teach them; by
            default that against labels, smoothed as `config` has it.
        forward: Supernet, inputs and architecture → the outputs that the criterion scores; by
            default the supernet is called with both.
        teach: Outputs and those of the first one → the mean loss of what it teaches; by default
            that between class probabilities. The criterion's identity stands for both.
        origin: What else must be equal for a checkpoint to be continued, by name: plain values
            that say, for one, which weights the supernet starts with.
        validation: After each epoch, on the weights that would be the result; None for none.
        log: Folder of a log for TensorBoard; None for none.
        on_step: Called after each step.
        on_validation: Called after each validation.
        on_epoch: Called after each epoch, with its number from 1.

    Raises:
        InputError: A validation without a task.
    """

    supernet: Trainable
    task: Task | None
    data: Batches
    config: TrainConfig
    checkpoint: Path
    rule: SamplingRule = field(default_factory=Sandwich)
    criterion: Criterion | None = None
    forward: Forward = _call
    teach: Callable[[Any, Any], Tensor] = soft_cross_entropy
    origin: Mapping[str, Any] = field(default_factory=dict)
    validation: Validation | None = None
    log: Path | None = None
    on_step: Callable[[Progress], None] | None = None
    on_validation: Callable[[Validated], None] | None = None
    on_epoch: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.validation is not None and self.task is None:
            raise InputError("validation needs a task; give the trainer one")

    def run(self) -> None:
        """Trains to the end, from the checkpoint if there is one.

        The supernet is left in evaluation mode. It has the averaged weights, if `config` wants
        an average; those that were trained on stay in the checkpoint.

        Raises:
            DataError: The checkpoint is damaged or of another training, or less data than one
                step takes.
            InputError: A recipe that the supernet or its device cannot follow.
            EvaluationError: A loss or weight that is not finite, or not enough memory.
            OSError: A file cannot be written.
        """
        _Run(self).run()


class _Run:
    """The state of a trainer's run."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._config = trainer, trainer.config
        self._module = cast(nn.Module, trainer.supernet)
        self._criterion = trainer.criterion or LabelLoss(smoothing=self._config.label_smoothing)
        self._processes: Processes = started(next(self._module.parameters()).device)
        self._updates = Updates(self._module, self._config, trainer.data,
                                processes=self._processes)
        self._total = self._config.epochs * self._updates.steps_per_epoch
        self._checkpoint = Checkpoint(path=trainer.checkpoint, identity=self._identity())
        self._step = 0

    def run(self) -> None:
        self._checkpoint.read(self._load)
        self._module.train()
        saved_at = time.monotonic()
        with ExitStack() as stack:
            board = self._board(stack)
            while self._step < self._total:
                loss = self._update()
                self._step += 1
                self._report(loss, board)
                epoch, position = divmod(self._step, self._updates.steps_per_epoch)
                if position == 0:  # before the checkpoint, so that no epoch goes unreported
                    self._end_epoch(epoch, board)
                now = time.monotonic()
                if now - saved_at > self._config.checkpoint_s or self._step == self._total:
                    self._save()
                    saved_at = now
        self._updates.finish()
        self._module.eval()
        self._processes.wait()

    def _update(self) -> float:
        try:
            return self._updates.step(self._step, self._parts)
        except EvaluationError as error:
            raise EvaluationError(f"{error}{self._where()}") from None

    def _parts(self, inputs: Any, targets: Any, step: int) -> Iterator[Part]:
        supernet, rule = self._trainer.supernet, self._trainer.rule
        archs = rule(supernet.space, derive_rng(self._config.seed, "sampling", index=step), step)
        loss = self._criterion(inputs, targets)
        forward = self._trainer.forward
        first = forward(supernet, inputs, archs[0])
        yield Part(loss(first), len(archs), f"architecture {archs[0].digest}")
        for arch in archs[1:]:
            outputs = forward(supernet, inputs, arch)
            yield Part(self._loss(outputs, loss, first if rule.teaches else None), len(archs),
                       f"architecture {arch.digest}")

    def _loss(self, outputs: Any, loss: Loss, teacher: Any | None) -> Tensor:
        share = self._config.teaching
        if teacher is None or share == 0.0:
            return loss(outputs)
        taught = self._trainer.teach(outputs, teacher)
        return taught if share == 1.0 else share * taught + (1.0 - share) * loss(outputs)

    def _report(self, loss: float, board: Board | None) -> None:
        rate = self._updates.learning_rate_at(self._step - 1)
        if board is not None:
            board.step(self._step, loss=loss, learning_rate=rate)
        if self._trainer.on_step is not None and self._processes.is_first:
            self._trainer.on_step(Progress(self._step, self._total, self._updates.steps_per_epoch,
                                           loss, rate))

    def _end_epoch(self, epoch: int, board: Board | None) -> None:
        trainer = self._trainer
        if trainer.validation is not None and trainer.task is not None:
            # By all processes alike: others would wait at their next step, and not for ever.
            with self._updates.averaged():
                results = trainer.validation(cast(Supernet, trainer.supernet), trainer.task)
            if board is not None:
                board.validation(self._step, results)
            if trainer.on_validation is not None and self._processes.is_first:
                trainer.on_validation(Validated(epoch, results))
        if trainer.on_epoch is not None and self._processes.is_first:
            trainer.on_epoch(epoch)

    def _board(self, stack: ExitStack) -> Board | None:
        log = self._trainer.log
        if log is None or not self._processes.is_first or self._step == self._total:
            return None
        return stack.enter_context(Board(log, step=self._step + 1))

    def _save(self) -> None:
        if not self._processes.is_first:
            return
        if not all(bool(torch.isfinite(p).all()) for p in self._module.parameters()):
            raise EvaluationError(f"weights are not finite after step {self._step}; lower the "
                                  f"learning rate{self._where()}")
        self._checkpoint.write({"step": self._step, "supernet": self._module.state_dict(),
                                "updates": self._updates.state()})

    def _load(self, state: Mapping[str, Any]) -> None:
        self._module.load_state_dict(state["supernet"])
        self._updates.load(state["updates"])
        self._step = int(state["step"])

    def _where(self) -> str:
        path = self._checkpoint.path
        return f"; the last good checkpoint is {path}" if path.exists() else ""

    def _identity(self) -> dict[str, Any]:
        trainer = self._trainer
        config = asdict(self._config)
        del config["checkpoint_s"]
        return {**trainer.origin, "space": trainer.supernet.space.id, **config,
                **trainer.data.identity(), "rule": repr(trainer.rule),
                "criterion": self._criterion.identity()}
