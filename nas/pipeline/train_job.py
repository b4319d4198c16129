"""What a family prepares for `nas train`, and what all families say alike."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from nas.pipeline.device import one_thread
from nas.pipeline.events import Event
from nas.pipeline.train_request import TrainRequest
from supernets.training.processes import Processes
from supernets.training.trainer import Progress


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A training that can be run.

    Attributes:
        run: Trains to the end, from the checkpoint if there is one.
        save: Writes the supernet folder.
        processes: Those that share the training; the first one writes.
        threads: The context of both: how many CPU threads torch has.
    """

    run: Callable[[], None]
    save: Callable[[], None]
    processes: Processes = field(default_factory=Processes)
    threads: Callable[[], AbstractContextManager[None]] = one_thread


def provenance(request: TrainRequest) -> dict[str, Any]:
    """Returns where a trained supernet comes from: JSON values."""
    return {
        "trained_by": "nas train",
        "arguments": request.model_dump(mode="json", exclude_none=True,
                                        exclude={"data", "out", "checkpoint_s"}),
        "versions": {name: version(name) for name in ("nas-service", "torch", "timm", "numpy")},
    }


def step_event(progress: Progress) -> Event:
    """Returns what whoever watches is told of a step."""
    epoch = progress.step / progress.steps_per_epoch
    return Event("train", progress.step, progress.total_steps,
                 f"epoch {epoch:.1f}, loss {progress.loss:.3f}")
