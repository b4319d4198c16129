"""`nas train` of a supernet of speech: audio files and a teacher → a supernet folder."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nas.core.errors import InputError
from nas.core.registry import resolve
from nas.pipeline.device import torch_device
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_job import TrainJob, provenance
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_speech_clips import Speech, masking_of, open_speech
from nas.pipeline.train_usual import recipe, sampling_rule
from supernets.hubert.batches import SpeechBatches
from supernets.hubert.checkpoints import load_checkpoint
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.open_teacher import open_teacher
from supernets.hubert.stored import save_supernet
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.targets import TargetCache
from supernets.hubert.teacher import Teacher, check_rates
from supernets.hubert.training import StagedTraining
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.hubert.windows import taught_windows
from supernets.registry import SUPERNETS
from supernets.tasks.distillation import FeatureDistillation, TaughtWindows
from supernets.training.sampling import SinglePath
from supernets.training.trainer import Progress, TrainConfig
from supernets.training.validation import Validation


def prepare(request: TrainRequest, origin: Mapping[str, Any], watch: Watcher) -> TrainJob:
    """Returns a training that can be run: teacher opened, network made, clips looked at.

    Args:
        request: With usual values.
        origin: `Trainer.origin`.
        watch: Is told of each file, of each clip that the teacher hears, and of every step.

    Raises:
        InputError: Unusable data, teacher or weights, or values that do not go together.
    """
    config: ElasticHubertConfig = resolve(SUPERNETS.get(request.supernet).info["config"])
    first, second = (None if epochs == 0 else
                     recipe(request.model_copy(update={"epochs": epochs, "seed": seed}))
                     for epochs, seed in ((request.first_epochs, request.seed),
                                          (request.epochs, request.seed + 1)))
    device = torch_device()
    assert request.teacher is not None  # its check says so
    teacher = open_teacher(Path(request.teacher), last=request.teacher_layers, device=device)
    check_rates(config, teacher)
    net = _start(request, config, teacher).to(device)
    training = _Training(request=request, origin=origin, watch=watch, teacher=teacher, net=net,
                         first=first, second=second, speech=open_speech(request, config, watch))
    return TrainJob(run=training.run, save=training.save, threads=nullcontext)


def _start(request: TrainRequest, config: ElasticHubertConfig, teacher: Teacher) -> HubertSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        if request.weights is None:
            return HubertSupernet(config, target_dim=teacher.dim)
        net = load_checkpoint(request.weights, config)
        if net.prediction_head is None:
            return load_checkpoint(request.weights, config, target_dim=teacher.dim)
    features = len(net.prediction_head.weight)
    if features != teacher.dim:
        raise InputError(f"--weights {request.weights} predict {features} features, and the "
                         f"teacher has {teacher.dim}; give the teacher that they learnt from, or "
                         "weights without a prediction head")
    return net


@dataclass(kw_only=True)
class _Training:
    """Both stages; what the teacher says is made when they are run."""

    request: TrainRequest
    origin: Mapping[str, Any]
    watch: Watcher
    teacher: Teacher
    net: HubertSupernet
    first: TrainConfig | None
    second: TrainConfig | None
    speech: Speech
    windows: dict[str, TaughtWindows] = field(default_factory=dict)

    def run(self) -> None:
        """Lets the teacher listen, trains, and tells after each stage how good three networks are.

        Raises:
            DataError, InputError, EvaluationError, OSError: See `TargetCache.prepare`,
                `taught_windows` and `StagedTraining.run`.
        """
        net, head = self.net, self.net.prediction_head
        assert head is not None  # `_start` makes one
        data = self._heard()
        net.task = FeatureDistillation(head_DE=head.weight.detach(), splits=self.windows,
                                       device=head.weight.device,
                                       shortest=net.config.receptive_field)
        if self.first is not None:
            self._staged(data, first=self.first).run()
            self._validate(1)
        if self.second is not None:
            self._staged(data, second=self.second).run()
            self._validate(2)

    def save(self) -> None:
        """Writes the supernet folder.

        Raises:
            OSError: A file cannot be written.
        """
        found = {**provenance(self.request), "arguments": dict(self.origin),
                 "teacher": self.teacher.identity(), "speech": self.speech.described()}
        save_supernet(self.request.out, self.net, self.windows, found)

    def _heard(self) -> SpeechBatches:
        # The windows first: there are few, and they may be refused.
        request, speech, config = self.request, self.speech, self.net.config
        cache = TargetCache(request.targets_folder, self.teacher,
                            instance_norm=request.instance_norm)
        self.windows = taught_windows(
            speech.held, config=config, targets=cache, counts=speech.counts,
            samples=speech.samples, on_window=self._told("windows"))
        targets = cache.prepare(speech.training, self._told("teacher"))
        return SpeechBatches(
            config=config, waves=speech.training, targets=targets, samples=speech.training.samples,
            batch_seconds=request.batch_seconds, seed=request.seed, masking=masking_of(request),
            learn=request.learn, device=torch_device())

    def _staged(self, data: SpeechBatches, *, first: TrainConfig | None = None,
                second: TrainConfig | None = None) -> StagedTraining:
        rule = (SinglePath() if second is None else
                sampling_rule(self.request, second, self.net, data))
        return StagedTraining(supernet=self.net, data=data, folder=self.request.out, first=first,
                              second=second, rule=rule, origin=self.origin, on_step=self._step)

    def _validate(self, stage: int) -> None:
        wave = WaveSupernet(self.net)
        results = Validation()(wave, wave.task)
        errors = ", ".join(f"{name} {metrics['error']:.1f} %" for name, metrics in results.items())
        self.watch(Event("validation", stage, 2, f"distillation loss after stage {stage}, of that "
                                                 f"of zeros: {errors}"))

    def _step(self, stage: int, progress: Progress) -> None:
        epoch = progress.step / progress.steps_per_epoch
        self.watch(Event(f"stage {stage}", progress.step, progress.total_steps,
                         f"epoch {epoch:.1f}, loss {progress.loss:.3f}"))

    def _told(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.watch(Event(stage, done, total))
