"""`nas train` of a supernet that is made of a timm model: images → a supernet folder."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from nas.core.errors import InputError
from nas.execution.process import usable_cores
from nas.pipeline.design import TIMM
from nas.pipeline.device import image_workers, one_thread
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_job import TrainJob, provenance, step_event
from nas.pipeline.train_request import TrainRequest
from nas.pipeline.train_timm_images import check_test_images, look_at_images, say_unreadable
from nas.pipeline.train_usual import recipe, sampling_rule
from supernets.tasks.timm_images import Opened, TimmImages
from supernets.timm.config import TimmConfig
from supernets.timm.create import check_name, create_model
from supernets.timm.families import describe_model
from supernets.timm.make import IMPORTANCE, make_supernet
from supernets.timm.stored import Images, save_supernet
from supernets.timm.supernet import TimmSupernet
from supernets.training.checkpoint import Checkpoint
from supernets.training.distill import Criterion, TeacherLoss
from supernets.training.image_batches import ImageBatches
from supernets.training.processes import own_device, started
from supernets.training.trainer import Trainer, Validated
from supernets.training.validation import Validation

VALIDATION = Validation(batches=16, calibration_batches=4)
SMALL_SIDE = 64  # up to which a second CPU thread has nothing to do


def prepare(request: TrainRequest, origin: Mapping[str, Any], watch: Watcher) -> TrainJob:
    """Returns a training that can be run: images checked, model made, units sorted.

    Args:
        request: With usual values.
        origin: `Trainer.origin`.
        watch: Is told of every step.

    Raises:
        InputError: Unknown model, unusable data or weights, or values that do not go together.
        OSError: The output folder cannot be written.
    """
    name = request.supernet.removeprefix(TIMM)
    check_name(name)
    device = own_device()
    images, preprocessing, classes = look_at_images(request, name)
    request.augmentation.transform(preprocessing)  # fails before every image is read
    channels, side, _ = preprocessing.input_shape
    config = TimmConfig(model=name, classes=classes, channels=channels, side=side,
                        sides=_sides(request, side))
    model = _start(request, config, watch)  # before every image is read, which may take long
    config.elastic(describe_model(model))
    opened = images.open(request.out, preprocessing, classes=classes, device=device,
                         download=request.download, threads=usable_cores(),
                         on_image=_some(watch))
    say_unreadable(opened, watch)
    check_test_images(opened)
    model.to(device=device).to(memory_format=torch.channels_last)
    supernet, config = make_supernet(model, config, opened.task,
                                     importance=request.importance or IMPORTANCE[0])
    supernet.to(device=device)
    watch(Event("model", 2, 2, f"{supernet.space.size:.2g} networks, from "
                               f"{len(supernet.space.genes)} choices each"))
    return TrainJob(
        run=(_training if request.epochs else _nothing)(request, origin, supernet, opened, watch),
        save=lambda: _save(request, supernet, config, images, opened),
        processes=started(device), threads=one_thread if side <= SMALL_SIDE else nullcontext)


def _sides(request: TrainRequest, side: int) -> tuple[int, ...]:
    smaller = tuple(sorted(set(request.resolutions)))
    if not smaller:
        return ()
    if smaller[-1] >= side or smaller[0] < 1:
        raise InputError(f"--resolutions {','.join(map(str, request.resolutions))}: each must be "
                         f"below {side}, the side of the images; drop the others, or give a larger "
                         "--image-size")
    return (*smaller, side)


def _start(request: TrainRequest, config: TimmConfig, watch: Watcher) -> nn.Module:
    watch(Event("model", 0, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        model = create_model(config.model, num_classes=config.classes, in_chans=config.channels,
                             img_size=config.side, weights=request.weights,
                             pretrained=request.pretrained, new_head=request.new_head,
                             notice=lambda line: watch(Event("model", 1, 2, line)))
    return model


def _nothing(request: TrainRequest, origin: Mapping[str, Any], supernet: TimmSupernet,
             opened: Opened, watch: Watcher) -> Callable[[], None]:
    # A training of no epochs has its last checkpoint at once.
    del watch
    checkpoint = Checkpoint(path=request.checkpoint, identity={
        **origin, "space": supernet.space.id, "preprocessing": repr(opened.task.preprocessing),
        "images": len(opened.training), "fingerprint": opened.training.fingerprint()})

    def run() -> None:
        checkpoint.check()
        if started(opened.task.device).is_first:
            checkpoint.write({})

    return run


def _training(request: TrainRequest, origin: Mapping[str, Any], supernet: TimmSupernet,
              opened: Opened, watch: Watcher) -> Callable[[], None]:
    assert request.batch_size is not None
    config = recipe(request)
    data = ImageBatches(task=opened.task, data=opened.training, batch_size=request.batch_size,
                        seed=request.seed, augmentation=request.augmentation,
                        workers=image_workers(request.workers, opened.task.device))
    trainer = Trainer(
        supernet=supernet, task=opened.task, data=data, config=config,
        checkpoint=request.checkpoint, rule=sampling_rule(request, config, supernet, data),
        criterion=_criterion(request, opened.task), origin=origin, validation=VALIDATION,
        log=request.log,
        on_step=lambda progress: watch(step_event(progress)),
        on_validation=lambda found: watch(_validated(found, config.epochs)))

    def run() -> None:
        try:
            trainer.run()
        finally:
            data.close()

    return run


def _criterion(request: TrainRequest, task: TimmImages) -> Criterion | None:
    if request.teacher is None:
        return None

    def refuse(line: str) -> None:
        raise InputError(f"--teacher {request.teacher} knows other classes ({line}); give the "
                         "weights of one that was trained on these images: --teacher-weights FILE")

    channels, side, _ = task.input_shape
    teacher = create_model(request.teacher.removeprefix(TIMM), num_classes=len(task.labels),
                           in_chans=channels, img_size=side, weights=request.teacher_weights,
                           pretrained=request.teacher_weights is None, notice=refuse)
    return TeacherLoss(teacher=teacher.to(device=task.device).to(
        memory_format=torch.channels_last), smoothing=request.label_smoothing)


def _save(request: TrainRequest, supernet: TimmSupernet, config: TimmConfig, images: Images,
          opened: Opened) -> None:
    if request.epochs:  # else the model's own statistics are those of its weights
        largest = supernet.recalibrated(supernet.space.extreme(largest=True),
                                        opened.task.batches("train_calib"))
        statistics = {name: value for name, value in largest.state_dict().items()
                      if name.endswith(("running_mean", "running_var"))}
        supernet.model.load_state_dict(statistics, strict=False)
    unreadable = [line for found in opened.unreadable.values() if found.reasons
                  for line in found.lines()]
    found: dict[str, Any] = {**provenance(request), "training_images": len(opened.training),
                             "unreadable": unreadable}
    save_supernet(request.out, supernet, config, opened.task, images, found)


def _validated(found: Validated, epochs: int) -> Event:
    errors = ", ".join(f"{name} {metrics['error']:.1f} %"
                       for name, metrics in found.results.items())
    return Event("validation", found.epoch, epochs, f"error after epoch {found.epoch}: {errors}")


def _some(watch: Watcher) -> Callable[[int, int], None]:
    # Each image is looked at for a millisecond or so: telling of each would take as long.
    def told(done: int, total: int) -> None:
        if done % 64 == 0 or done == total:
            watch(Event("images", done, total))

    return told
