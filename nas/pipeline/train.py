"""The use-case of `nas train`: a folder of images → a supernet folder."""

import dataclasses
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from nas.core.errors import DiskError, InputError, RunInterrupted
from nas.core.files import os_error_line, partial_file
from nas.core.locks import LOCK, locked
from nas.core.registry import resolve
from nas.core.rng import derive_rng
from nas.pipeline.config import validated
from nas.pipeline.device import one_thread, torch_device
from nas.pipeline.events import Event, Watcher, silent
from supernets.folder import save_supernet
from supernets.mobilenet.config import MobileNetConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.registry import SUPERNETS
from supernets.tasks.idx import class_names, read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import CALIBRATION_IMAGES, balanced, halves
from supernets.training.data import Augmentation, TrainingData
from supernets.training.trainer import Progress, TrainConfig, Trainer

CHECKPOINT = "checkpoint.pt"

class TrainRequest(BaseModel):
    """What to train.

    Attributes:
        supernet: Name of a family member to train anew.
        data: Folder of idx files (train-… and t10k-…), plain or gzipped; class names are read
            from ``labels.txt``, one a line, where there is one.
        out: Folder to make; a folder that holds a checkpoint is resumed.
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Peak.
        seed: Of everything random.
        checkpoint_s: Seconds of work that a kill may cost: the time between checkpoints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    supernet: str = "mobilenet-fmnist"
    data: Path
    out: Path
    epochs: int = Field(default=32, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.3, gt=0)
    seed: int = Field(default=0, ge=0)
    checkpoint_s: float = Field(default=120.0, ge=0)


def make_request(values: dict[str, Any]) -> TrainRequest:
    """Returns the request of these values.

    Raises:
        InputError: An unknown key or a value out of range; one line.
    """
    return validated(TrainRequest, values)


def train(request: TrainRequest, *, watch: Watcher = silent) -> Path:
    """Trains a supernet and returns its folder; a stopped run goes on from its checkpoint.

    Raises:
        InputError: Unknown supernet, unusable data, or `out` holds something else or is being
            trained by another process.
        DiskError: A file cannot be written.
        RunInterrupted: Ctrl-C.
    """
    _check_out(request.out)
    task, training = _read_data(request)
    config = _config_for(request.supernet, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        supernet = MobileNetSupernet(config, task)
    supernet.to(device=task.device).to(memory_format=torch.channels_last)
    trainer = Trainer(
        supernet=supernet, task=task,
        data=TrainingData(task=task, data=training, batch_size=request.batch_size,
                          seed=request.seed, augmentation=Augmentation()),
        config=TrainConfig(epochs=request.epochs, learning_rate=request.learning_rate,
                           seed=request.seed, checkpoint_s=request.checkpoint_s),
        checkpoint=request.out / CHECKPOINT,
        on_step=lambda progress: watch(_event(progress)))
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        with locked(request.out, "training"), one_thread():
            trainer.run()
            return finish(supernet, task, request)
    except KeyboardInterrupt:
        raise RunInterrupted(f"training stopped; the same command goes on from the checkpoint in "
                             f"{request.out}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, and the same command goes on from "
                        f"the checkpoint in {request.out}") from None


def finish(supernet: MobileNetSupernet, task: ImageClassification, request: TrainRequest) -> Path:
    """Stores the largest network's batch-norm statistics and writes the supernet folder."""
    largest = supernet.recalibrated(supernet.space.extreme(largest=True),
                                    task.batches("train_calib"))
    statistics = {name: value for name, value in largest.state_dict().items()
                  if name.endswith(("running_mean", "running_var"))}
    supernet.load_state_dict(statistics, strict=False)
    save_supernet(request.out, supernet, task, _provenance(request))
    return request.out


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give --out a folder")
    checkpoint = out / CHECKPOINT
    ours = {LOCK, partial_file(checkpoint).name}  # of a training stopped before its first
    if out.is_dir() and not checkpoint.is_file() and {path.name for path in out.iterdir()} - ours:
        raise InputError(f"{out} exists and holds no training to resume; give another --out")


def _read_data(request: TrainRequest) -> tuple[ImageClassification, LabelledImages]:
    images, labels = read_split(request.data, "train")
    held_out = LabelledImages(*read_split(request.data, "t10k"))
    training = LabelledImages(images, labels)
    search, test = halves(held_out, derive_rng(request.seed, "split"))
    counts = np.unique(labels, return_counts=True)[1]
    calib = balanced(training, min(CALIBRATION_IMAGES, int(counts.min()) * len(counts)),
                     derive_rng(request.seed, "train_calib"))
    height, width = images.shape[1:]
    pixels = images.astype("float32") / 255
    task = ImageClassification(
        labels=class_names(request.data, labels), input_shape=(1, height, width),
        mean=round(float(pixels.mean()), 3), std=round(float(pixels.std()), 3),
        splits={"train_calib": calib, "search": search, "test": test}, device=torch_device())
    return task, training


def _config_for(name: str, task: ImageClassification) -> MobileNetConfig:
    entry = SUPERNETS.get(name)
    if "config" not in entry.info:
        raise InputError(f"supernet {name!r} cannot be trained anew: it has no configuration")
    preset: MobileNetConfig = resolve(entry.info["config"])
    if (task.input_shape, len(task.labels)) == (preset.input_shape, preset.num_classes):
        return preset
    sides = "x".join(map(str, task.input_shape[1:]))
    return dataclasses.replace(preset, name=f"mobilenet-{sides}-{len(task.labels)}/1",
                               input_shape=task.input_shape, num_classes=len(task.labels))


def _provenance(request: TrainRequest) -> dict[str, Any]:
    files = sorted(path for path in request.data.iterdir() if "-ubyte" in path.name)
    return {
        "trained_by": "nas train",
        "arguments": request.model_dump(mode="json", exclude={"data", "out", "checkpoint_s"}),
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                        for path in files},
        "versions": {name: version(name) for name in ("nas-service", "torch", "timm", "numpy")},
    }


def _event(progress: Progress) -> Event:
    epoch = progress.step / progress.steps_per_epoch
    return Event("train", progress.step, progress.total_steps,
                 f"epoch {epoch:.1f}, loss {progress.loss:.3f}")
