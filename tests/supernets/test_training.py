import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.core.errors import DataError, EvaluationError, InputError
from supernets.mobilenet.config import MobileNetConfig, StageConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import Augmentation, TrainingData
from supernets.training.distill import soft_cross_entropy
from supernets.training.sampling import Sandwich
from supernets.training.trainer import Progress, TrainConfig, Trainer

TINY = MobileNetConfig(
    name="tiny/1", input_shape=(1, 8, 8), num_classes=3, stem_width=8, head_width=16,
    stages=(StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), expansions=(1, 2),
                        se_ratio=0.25),))
CONFIG = TrainConfig(epochs=2, learning_rate=0.2, warmup_epochs=0.5, seed=3)


class StoppedError(Exception):
    """What a test stops a training with."""


def striped(count: int = 48, *, seed: int = 0) -> LabelledImages:
    """Noise with a bright band of rows that is the class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.uint8)
    images = rng.integers(0, 80, (count, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label:3 * label + 2] += 150
    return LabelledImages(images, labels)


def make_task() -> ImageClassification:
    return ImageClassification(labels=("top", "middle", "bottom"), input_shape=(1, 8, 8), mean=0.2,
                               std=0.2, splits={"test": striped(30, seed=9)})


def make_trainer(checkpoint: Path, **changes: Any) -> Trainer:
    task = make_task()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MobileNetSupernet(TINY, task).to(memory_format=torch.channels_last)
    data = TrainingData(task=task, data=striped(), batch_size=12, seed=3,
                        augmentation=Augmentation(shift=0, flip=True))
    return Trainer(**{"supernet": net, "task": task, "data": data, "config": CONFIG,
                      "checkpoint": checkpoint, **changes})


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_step(progress: Progress) -> None:
        if progress.step == step:
            raise StoppedError
    return on_step


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The rule and the loss

def test_the_sandwich_holds_the_extremes_and_some_between() -> None:
    space = make_trainer(Path("none")).supernet.space
    archs = Sandwich(n_random=3)(space, np.random.default_rng(0))
    assert len(archs) == 5
    assert archs[0] == space.extreme(largest=True)
    assert archs[1] == space.extreme(largest=False)
    assert len(set(archs)) > 2
    assert archs == Sandwich(n_random=3)(space, np.random.default_rng(0))
    assert all(space.canonical(arch) == arch for arch in archs)


def test_distillation_teaches_the_student_alone() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    teacher = torch.randn(4, 3, requires_grad=True)
    loss = soft_cross_entropy(student, teacher)
    by_hand = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, (student.softmax(1) - teacher.softmax(1)) / 4)


# The batches

@pytest.mark.parametrize("shape", [(20, 9, 7), (20, 9, 7, 3)])
def test_augmentation_keeps_the_shape_and_the_input(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    before = images.copy()
    first = Augmentation()(images, np.random.default_rng(1))
    assert first.shape == shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(first, Augmentation()(images, np.random.default_rng(1)))
    assert (first != Augmentation()(images, np.random.default_rng(2))).any()


def test_shifting_moves_images_and_fills_in_black() -> None:
    images = np.zeros((400, 7, 7), np.uint8)
    images[:, 3, 3] = 9
    out = Augmentation(shift=2, flip=False, erase=0.0)(images, np.random.default_rng(0))
    assert (out.reshape(400, -1).sum(1) == 9).all()
    _, rows, columns = np.nonzero(out)
    assert set(rows) == set(columns) == {1, 2, 3, 4, 5}
    bright = Augmentation(shift=2, flip=False, erase=0.0)(images + 5, np.random.default_rng(0))
    assert set(np.unique(bright)) == {0, 5, 14}


def test_flipping_mirrors_half_of_the_images() -> None:
    images = np.broadcast_to(np.arange(6, dtype=np.uint8), (400, 6, 6))
    out = Augmentation(shift=0, flip=True, erase=0.0)(images, np.random.default_rng(0))
    mirrored = (out == images[:, :, ::-1]).all((1, 2))
    assert (mirrored | (out == images).all((1, 2))).all()
    assert 150 < mirrored.sum() < 250


def test_erasing_fills_one_rectangle() -> None:
    images = np.full((400, 12, 12), 77, np.uint8)
    out = Augmentation(shift=0, flip=False, erase=0.5)(images, np.random.default_rng(0))
    changed = (out != 77)
    touched = [mask for mask in changed if mask.any()]
    assert 150 < len(touched) < 250
    for mask in touched:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)
        assert 3 <= len(rows) <= 5
        assert 3 <= len(columns) <= 5


def test_nothing_to_do_changes_nothing() -> None:
    images = striped().images
    none = Augmentation(shift=0, flip=False, erase=0.0)
    np.testing.assert_array_equal(none(images, np.random.default_rng(0)), images)


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3, 9), (2, 20, 9)])
def test_images_too_small_to_erase_from(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="too small to erase"):
        Augmentation()(np.zeros(shape, np.uint8), np.random.default_rng(0))


def test_a_batch_is_a_pure_function_of_its_step() -> None:
    data = TrainingData(task=make_task(), data=striped(), batch_size=12, seed=3,
                        augmentation=Augmentation(shift=0, flip=True))
    forwards = [data.batch(step) for step in range(8)]
    for step in reversed(range(8)):
        for first, again in zip(forwards[step], data.batch(step), strict=True):
            assert torch.equal(first, again)
    other = replace(data, seed=4).batch(0)
    assert (other[0] != forwards[0][0]).any()


def test_an_epoch_sees_every_image_once_in_a_new_order() -> None:
    images = np.arange(50, dtype=np.uint8)[:, None, None]
    task = ImageClassification(labels=tuple(map(str, range(50))), input_shape=(1, 1, 1), mean=0.0,
                               std=1.0, splits={})
    data = TrainingData(task=task, data=LabelledImages(images, np.arange(50, dtype=np.uint8)),
                        batch_size=12, seed=0, augmentation=None)
    assert data.steps_per_epoch == 4
    epochs = []
    for epoch in (0, 1):
        batches = [data.batch(4 * epoch + step) for step in range(4)]
        seen = torch.cat([targets for _, targets in batches])
        torch.testing.assert_close(torch.cat([x for x, _ in batches]).ravel() * 255, seen.float())
        assert len(set(seen.tolist())) == 48
        epochs.append(seen)
    assert (epochs[0] != epochs[1]).any()


def test_an_empty_batch_is_an_error() -> None:
    with pytest.raises(InputError, match="batch size 0 must be positive"):
        TrainingData(task=make_task(), data=striped(), batch_size=0, seed=0, augmentation=None)


# The trainer

@pytest.mark.parametrize(("checkpoint_s", "stop"), [(0.0, 5), (1e9, 3)],
                         ids=["checkpoint-each-step", "no-checkpoint-yet"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, checkpoint_s: float,
                                                        stop: int) -> None:
    config = replace(CONFIG, checkpoint_s=checkpoint_s)
    whole = make_trainer(tmp_path / "whole.pt", config=config)
    losses: list[float] = []
    whole.on_step = lambda progress: losses.append(progress.loss)
    whole.run()
    assert not whole.supernet.training

    first = make_trainer(tmp_path / "cut.pt", config=config, on_step=stop_at(stop))
    with pytest.raises(StoppedError):
        first.run()
    steps: list[Progress] = []
    second = make_trainer(tmp_path / "cut.pt", config=config, on_step=steps.append)
    second.run()
    # The stop came before the step's own checkpoint: that step is done again.
    assert steps[0].step == (stop if checkpoint_s == 0.0 else 1)
    assert steps[-1].step == steps[-1].total_steps == 8
    assert [p.loss for p in steps] == losses[-len(steps):]
    assert equal(second.supernet.state_dict(), whole.supernet.state_dict())


def test_a_stop_between_checkpoints_goes_back_to_the_last(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole.pt")
    whole.run()
    saving = make_trainer(tmp_path / "cut.pt", config=replace(CONFIG, checkpoint_s=0.0),
                          on_step=stop_at(4))
    with pytest.raises(StoppedError):
        saving.run()
    lazy = make_trainer(tmp_path / "cut.pt", on_step=stop_at(6))  # from step 3, saves nothing
    with pytest.raises(StoppedError):
        lazy.run()
    steps: list[int] = []
    last = make_trainer(tmp_path / "cut.pt", on_step=lambda progress: steps.append(progress.step))
    last.run()
    assert steps == [4, 5, 6, 7, 8]
    assert equal(last.supernet.state_dict(), whole.supernet.state_dict())


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    first = make_trainer(tmp_path / "c.pt")
    first.run()
    steps: list[Progress] = []
    again = make_trainer(tmp_path / "c.pt", on_step=steps.append)
    again.run()
    assert steps == []
    assert equal(again.supernet.state_dict(), first.supernet.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_training_does_not_touch_the_global_generators(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "c.pt", on_step=stop_at(2))
    before = torch.random.get_rng_state()
    with pytest.raises(StoppedError):
        trainer.run()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_epochs_and_steps_are_counted(tmp_path: Path) -> None:
    epochs: list[int] = []
    steps: list[Progress] = []
    make_trainer(tmp_path / "c.pt", on_step=steps.append, on_epoch=epochs.append).run()
    assert epochs == [1, 2]
    assert [p.step for p in steps] == list(range(1, 9))
    assert {(p.total_steps, p.steps_per_epoch) for p in steps} == {(8, 4)}


def test_a_tiny_problem_is_learnt(tmp_path: Path) -> None:
    losses: list[float] = []
    trainer = make_trainer(tmp_path / "c.pt", config=replace(CONFIG, epochs=12),
                           on_step=lambda progress: losses.append(progress.loss))
    trainer.run()
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])
    net, task = trainer.supernet, trainer.task
    for largest in (True, False):
        module = net.recalibrated(net.space.extreme(largest=largest), task.batches("test"))
        assert task.metrics(module, task.batches("test"))["error"] < 35


def test_weight_decay_is_for_weights_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "c.pt", config=replace(CONFIG, weight_decay=0.1))
    decayed, free = trainer.config.make_optimizer(trainer.supernet).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    kept = {id(p) for p in free["params"]}
    names = {name for name, p in trainer.supernet.named_parameters() if id(p) in kept}
    assert {"bn1.weight", "bn1.bias", "classifier.bias", "blocks.0.0.conv_dw.kernel_maps.5to3",
            "blocks.0.0.se.conv_reduce.bias"} <= names
    assert not {"conv_stem.weight", "classifier.weight", "blocks.0.0.conv_dw.weight"} & names


# What goes wrong

@pytest.mark.parametrize(("changes", "name"), [
    ({"config": replace(CONFIG, learning_rate=0.1)}, "learning_rate"),
    ({"config": replace(CONFIG, epochs=3)}, "epochs"),
    ({"config": replace(CONFIG, seed=4)}, "seed"),
    ({"rule": Sandwich(n_random=1)}, "rule"),
    ({"data": TrainingData(task=make_task(), data=striped(), batch_size=16, seed=3,
                           augmentation=None)},
     "batch_size"),
    ({"data": TrainingData(task=make_task(), data=striped(), batch_size=12, seed=3,
                           augmentation=None)},
     "augmentation"),
    ({"data": TrainingData(task=make_task(), data=striped(seed=1), batch_size=12, seed=3,
                           augmentation=Augmentation(shift=0, flip=True))}, "pixels"),
])
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, changes: dict[str, Any],
                                                     name: str) -> None:
    path = tmp_path / "c.pt"
    make_trainer(path).run()
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"is of another training \\({name} is"):
        make_trainer(path, **changes).run()
    assert path.read_bytes() == before


def test_a_checkpoint_may_be_written_more_or_less_often(tmp_path: Path) -> None:
    make_trainer(tmp_path / "c.pt").run()
    make_trainer(tmp_path / "c.pt", config=replace(CONFIG, checkpoint_s=1.0)).run()


def test_a_checkpoint_of_another_network_of_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    make_trainer(path).run()
    wider = MobileNetSupernet(replace(TINY, head_width=24), make_task())
    with pytest.raises(DataError, match="cannot be read") as error:
        make_trainer(path, supernet=wider).run()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"no checkpoint at all"),
    lambda path: torch.save({"weights": torch.zeros(1)}, path),
    lambda path: torch.save(torch.zeros(1), path),
    lambda path: torch.save(Augmentation(), path),
], ids=["truncated", "empty", "text", "other-keys", "tensor", "object"])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "c.pt"
    make_trainer(path).run()
    damage(path)
    with pytest.raises(DataError, match=r"c\.pt cannot be read .*; remove it to start anew") as e:
        make_trainer(path).run()
    assert "\n" not in str(e.value)


def poisoned(name: str) -> MobileNetSupernet:
    net = copy.deepcopy(make_trainer(Path("none")).supernet)
    with torch.no_grad():
        net.get_parameter(name).fill_(float("nan"))
    return net


@pytest.mark.parametrize("name", [
    "classifier.weight",  # the largest, hence all
    "blocks.0.0.conv_dw.kernel_maps.5to3",  # the small kernels alone: a student
])
def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c.pt"
    trainer = make_trainer(path, supernet=poisoned(name))
    with pytest.raises(EvaluationError, match=r"training loss is nan at step 0, architecture \w+, "
                                              r"batch 0 of 12 rows; lower the learning rate$"):
        trainer.run()
    assert not path.exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "c.pt", config=replace(CONFIG, checkpoint_s=0.0))
    good: list[bytes] = []

    def on_step(progress: Progress) -> None:
        if progress.step == 3:
            good.append(trainer.checkpoint.read_bytes())
            with torch.no_grad():
                trainer.supernet.classifier.bias.fill_(float("inf"))

    trainer.on_step = on_step
    with pytest.raises(EvaluationError, match=r"not finite after step 3; .*last good checkpoint"):
        trainer.run()
    assert trainer.checkpoint.read_bytes() == good[0]


def test_fewer_images_than_a_batch_is_an_error(tmp_path: Path) -> None:
    data = TrainingData(task=make_task(), data=striped(), batch_size=64, seed=0,
                        augmentation=None)
    with pytest.raises(DataError, match="48 images are fewer than one batch of 64"):
        make_trainer(tmp_path / "c.pt", data=data).run()
