"""`nas train` of a family member that starts from nothing: idx files → a supernet folder."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nas.core.errors import InputError
from nas.core.registry import resolve
from nas.core.rng import derive_rng
from nas.pipeline.device import torch_device
from nas.pipeline.events import Watcher
from nas.pipeline.train_job import TrainJob, provenance, step_event
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_usual import recipe, sampling_rule
from supernets.mobilenet.config import MobileNetConfig
from supernets.mobilenet.stored import save_supernet
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.registry import SUPERNETS
from supernets.tasks.idx import class_names, read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import CALIBRATION_IMAGES, balanced, halves
from supernets.training.data import Augmentation, TrainingData
from supernets.training.trainer import Trainer


def prepare(request: TrainRequest, origin: Mapping[str, Any], watch: Watcher) -> TrainJob:
    """Returns a training that can be run.

    Args:
        request: With usual values.
        origin: `Trainer.origin`.
        watch: Is told of every step.

    Raises:
        InputError: Unknown supernet, unusable data, or values that do not go together.
    """
    assert request.batch_size is not None
    task, training = _read_data(request)
    config = _config_for(request.supernet, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        supernet = MobileNetSupernet(config, task)
    supernet.to(device=task.device).to(memory_format=torch.channels_last)
    data = TrainingData(task=task, data=training, batch_size=request.batch_size, seed=request.seed,
                        augmentation=Augmentation())
    how = recipe(request)
    trainer = Trainer(
        supernet=supernet, task=task, data=data, config=how, checkpoint=request.checkpoint,
        origin=origin, rule=sampling_rule(request, how, supernet, data), log=request.log,
        on_step=lambda progress: watch(step_event(progress)))
    return TrainJob(trainer.run, lambda: _save(supernet, task, request))


def _save(supernet: MobileNetSupernet, task: ImageClassification, request: TrainRequest) -> None:
    """Stores the largest network's batch-norm statistics and writes the supernet folder."""
    largest = supernet.recalibrated(supernet.space.extreme(largest=True),
                                    task.batches("train_calib"))
    statistics = {name: value for name, value in largest.state_dict().items()
                  if name.endswith(("running_mean", "running_var"))}
    supernet.load_state_dict(statistics, strict=False)
    files = sorted(path for path in request.data.iterdir() if "-ubyte" in path.name)
    save_supernet(request.out, supernet, task, {**provenance(request), "data_sha256": {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}})


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
