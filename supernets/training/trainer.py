"""Trains every subnet of a supernet at once; checkpoints, and resumes as if never stopped."""

import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import DataError, EvaluationError
from nas.core.files import replace_file
from nas.core.rng import derive_rng
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification
from supernets.training.data import Batches
from supernets.training.distill import soft_cross_entropy
from supernets.training.recipe import Recipe
from supernets.training.sampling import SamplingRule, Sandwich


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Recipe):
    """How to train; label smoothing is of the largest subnet's loss.

    Attributes:
        checkpoint_s: Seconds between checkpoints.
    """

    checkpoint_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after a step."""

    step: int
    total_steps: int
    steps_per_epoch: int
    loss: float


@dataclass(kw_only=True)
class Trainer:
    """One training run of a supernet.

    Attributes:
        supernet: Trained in place.
        task: Of the batches; its loss trains the largest subnet.
        data: The batches.
        config: How.
        checkpoint: File of the checkpoints; read first if it exists.
        rule: Which architectures a step runs; the first one teaches the others.
        on_step: Called after each step.
        on_epoch: Called after each epoch, with its number from 1.
    """

    supernet: MobileNetSupernet
    task: ImageClassification
    data: Batches
    config: TrainConfig
    checkpoint: Path
    rule: SamplingRule = field(default_factory=Sandwich)
    on_step: Callable[[Progress], None] | None = None
    on_epoch: Callable[[int], None] | None = None

    def run(self) -> None:
        """Trains to the end, from the checkpoint if there is one.

        Raises:
            DataError: The checkpoint is damaged or of another training, or fewer images than one
                batch.
            EvaluationError: A loss or weight that is not finite.
            OSError: The checkpoint cannot be written.
        """
        steps_per_epoch = self.data.checked_steps_per_epoch()
        total = self.config.epochs * steps_per_epoch
        optimizer = self.config.optimizer(self.supernet.named_parameters())
        step = self._restore(optimizer)
        self.supernet.train()
        saved_at = time.monotonic()
        while step < total:
            self.config.set_learning_rate(optimizer, step, steps_per_epoch=steps_per_epoch)
            loss = self._step(step, optimizer)
            step += 1
            now = time.monotonic()
            if self.on_step is not None:
                self.on_step(Progress(step, total, steps_per_epoch, loss))
            if now - saved_at > self.config.checkpoint_s or step == total:
                self._save(optimizer, step)
                saved_at = now
            if step % steps_per_epoch == 0 and self.on_epoch is not None:
                self.on_epoch(step // steps_per_epoch)
        self.supernet.eval()

    def _step(self, step: int, optimizer: torch.optim.Optimizer) -> float:
        x, targets = self.data.batch(step)
        archs = self.rule(self.supernet.space, derive_rng(self.config.seed, "sampling", index=step))
        optimizer.zero_grad(set_to_none=True)
        teacher: Tensor = self.supernet(x, archs[0])
        loss = nn.functional.cross_entropy(teacher, targets,
                                           label_smoothing=self.config.label_smoothing)
        self._backward(loss, archs[0], step, parts=len(archs))
        for arch in archs[1:]:
            student = soft_cross_entropy(self.supernet(x, arch), teacher)
            self._backward(student, arch, step, parts=len(archs))
        optimizer.step()
        return loss.item()

    def _backward(self, loss: Tensor, arch: Arch, step: int, *, parts: int) -> None:
        if not math.isfinite(loss.item()):
            raise EvaluationError(f"training loss is {loss.item()} at step {step}, architecture "
                                  f"{arch.digest}; {self._advice()}")
        (loss / parts).backward()  # type: ignore[no-untyped-call]

    def _advice(self) -> str:
        where = f"the last good checkpoint is {self.checkpoint}"
        return "lower the learning rate" + (f"; {where}" if self.checkpoint.exists() else "")

    def _identity(self) -> Mapping[str, Any]:
        config = asdict(self.config)
        del config["checkpoint_s"]
        return {"space": self.supernet.space.id, **config, **self.data.identity(),
                "rule": getattr(self.rule, "__qualname__", repr(self.rule))}

    def _save(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        if not all(bool(torch.isfinite(p).all()) for p in self.supernet.parameters()):
            raise EvaluationError(f"weights are not finite after step {step}; {self._advice()}")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save({"identity": dict(self._identity()), "step": step,
                    "supernet": self.supernet.state_dict(),
                    "optimizer": optimizer.state_dict()}, state)
        replace_file(self.checkpoint, state.getvalue())

    def _restore(self, optimizer: torch.optim.Optimizer) -> int:
        if not self.checkpoint.exists():
            return 0
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
            self._check_identity(state["identity"])
            self.supernet.load_state_dict(state["supernet"])
            optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
        except DataError:
            raise
        except Exception as error:  # whatever a damaged file makes the unpickler raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"checkpoint {self.checkpoint} cannot be read ({reason}); remove it to "
                            "start anew") from None

    def _check_identity(self, saved: Mapping[str, Any]) -> None:
        for name, value in self._identity().items():
            if saved.get(name) != value:
                raise DataError(f"checkpoint {self.checkpoint} is of another training ({name} is "
                                f"{saved.get(name)!r} there, {value!r} here); remove it or use "
                                "another --out")
