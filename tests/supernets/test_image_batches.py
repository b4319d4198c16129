"""Training batches of images: a pure function of (seed, step), whoever makes them."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import SMALL, write_classes

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Batch
from supernets.tasks.timm_images import Opened, open_task
from supernets.training.image_batches import ImageBatches
from supernets.training.randomness import generators_kept, seed_generators
from supernets.training.timm_augmentation import TimmAugmentation

ALL = TimmAugmentation(scale=(0.3, 1.0), auto_augment="rand-m9-mstd0.5", re_prob=0.5)
AUGMENTATIONS = [None, TimmAugmentation(), ALL,
                 TimmAugmentation(re_prob=0.5, re_mode="const", mixup=0.2, cutmix=1.0)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    root = write_classes(tmp_path_factory.mktemp("images"), {"a": 16, "b": 10})
    return open_task("folder", root, preprocessing=SMALL, seed=0)  # 14 + 8 to train on


@pytest.fixture
def make(opened: Opened) -> Iterator[Any]:
    made: list[ImageBatches] = []

    def batches(**changes: Any) -> ImageBatches:
        made.append(ImageBatches(**{
            "task": opened.task, "data": opened.training, "batch_size": 6, "seed": 3,
            "augmentation": ALL, **changes}))
        return made[-1]

    yield batches
    for one in made:
        one.close()


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def unlike(a: Batch, b: Batch) -> bool:
    return not torch.equal(a[0], b[0])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_batch_is_a_pure_function_of_seed_and_step(make: Any, augmentation: Any) -> None:
    first = make(augmentation=augmentation)
    batches = [first.batch(step) for step in range(7)]
    again = make(augmentation=augmentation)
    for step in (6, 3, 0, 5):
        assert same(batches[step], again.batch(step))
    assert unlike(make(augmentation=augmentation, seed=4).batch(0), batches[0])
    assert unlike(batches[0], batches[3])  # the next epoch's first


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(make: Any, workers: int) -> None:
    alone, helped = make(), make(workers=workers)
    steps = [0, 1, 2, 3, 4, 9, 10, 2]  # over epochs, with a leap ahead and one back
    for step in steps:
        assert same(alone.batch(step), helped.batch(step))
    helped.close()
    assert same(alone.batch(5), helped.batch(5))  # as after a restart in mid-epoch


def test_workers_end_with_close(make: Any) -> None:
    helped = make(workers=1)
    before = set(multiprocessing.active_children())
    helped.batch(0)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 1
    helped.close()
    assert not started & set(multiprocessing.active_children())


def test_an_epoch_sees_every_image_once(make: Any, opened: Opened) -> None:
    batches = make(augmentation=None, batch_size=11)
    assert batches.checked_steps_per_epoch() == batches.steps_per_epoch == 2
    task = replace(opened.task, splits={"test": opened.training})
    expected = [x for inputs, _ in task.batches("test") for x in inputs]

    def numbers(epoch: int) -> list[int]:
        seen = []
        for step in (2 * epoch, 2 * epoch + 1):
            x, targets = batches.batch(step)
            for image, target in zip(x, targets, strict=True):
                seen += [number for number, other in enumerate(expected)
                         if torch.equal(image, other)]
                assert target == opened.training.labels[seen[-1]]
        return seen

    assert sorted(numbers(0)) == list(range(22))
    assert numbers(0) != numbers(1)


def test_batches_fit_the_task(make: Any) -> None:
    x, targets = make().batch(0)
    assert x.shape == (6, 3, 16, 16)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x.dtype, targets.dtype, targets.shape) == (torch.float32, torch.int64, (6,))


def test_mixed_targets_are_shares_of_two_images(make: Any) -> None:
    batches = make(augmentation=TimmAugmentation(mixup=1.0, cutmix=1.0))
    plain = make(augmentation=TimmAugmentation())
    mixed = 0
    for step in range(6):
        (x, shares), (_, classes) = batches.batch(step), plain.batch(step)
        assert shares.shape == (6, 2)
        torch.testing.assert_close(shares.sum(1), torch.ones(6))
        alone = classes == classes.flip(0)  # mixed with its own class
        assert (shares[alone].max(1).values > 0.999).all()
        assert not torch.equal(x, plain.batch(step)[0])
        mixed += int((shares[~alone].max(1).values < 0.999).sum())
    assert mixed > 0


def test_the_global_generators_are_left_alone(make: Any) -> None:
    batches, helped = make(augmentation=AUGMENTATIONS[-1]), make(workers=1)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(3)  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    batches.batch(0)
    helped.batch(0)
    found = random.random(), np.random.random(), torch.rand(3)  # noqa: NPY002
    assert found[:2] == expected[:2]
    assert torch.equal(found[2], expected[2])


def test_generators_are_kept_after_an_error() -> None:
    before = torch.random.get_rng_state()
    with suppress(KeyError), generators_kept():
        seed_generators(1, "test", index=0)
        raise KeyError
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_decide_all_three_generators() -> None:
    def drawn(noise: int, **seed: Any) -> list[float]:
        [random.random() + np.random.random() + torch.rand(1) for _ in range(noise)]  # noqa: NPY002
        seed_generators(**seed)
        return [random.random(), float(np.random.random()), float(torch.rand(1))]  # noqa: NPY002

    with generators_kept():
        first = drawn(0, seed=7, purpose="sample", index=4)
        assert first == drawn(3, seed=7, purpose="sample", index=4)
        for other in ({"seed": 8}, {"purpose": "mix"}, {"index": 5}):
            changed = drawn(0, **{"seed": 7, "purpose": "sample", "index": 4, **other})
            assert all(a != b for a, b in zip(first, changed, strict=True))


@pytest.mark.parametrize(("changes", "name"), [
    ({"batch_size": 4}, "batch_size"), ({"seed": 4}, "data_seed"),
    ({"augmentation": None}, "augmentation"), ({"augmentation": TimmAugmentation()},
                                               "augmentation")])
def test_identity_tells_trainings_apart(make: Any, changes: dict[str, Any], name: str) -> None:
    assert make().identity() == make(workers=2).identity()
    different = make(**changes).identity()
    assert {key for key, value in make().identity().items() if different[key] != value} == {name}


def test_identity_knows_images_and_preprocessing(make: Any, opened: Opened) -> None:
    fewer = make(data=opened.training.take(np.arange(1, 22))).identity()
    assert fewer["fingerprint"] != make().identity()["fingerprint"]
    other = replace(opened.task, preprocessing=replace(SMALL, interpolation="bilinear"))
    assert make(task=other).identity()["preprocessing"] != make().identity()["preprocessing"]


def test_grey_images(tmp_path: Path, make: Any) -> None:
    grey = replace(SMALL, input_shape=(1, 16, 16), mean=(0.5,), std=(0.2,))
    root = write_classes(tmp_path, {"a": 6, "b": 6})
    found = open_task("", root, preprocessing=grey, seed=0)
    batches = make(task=found.task, data=found.training,
                   augmentation=TimmAugmentation(re_prob=1.0))
    x, _ = batches.batch(0)
    assert x.shape == (6, 1, 16, 16)
    assert x.stride() == (256, 1, 16, 1)
    with pytest.raises(InputError, match="is for images of 3 channels"):
        make(task=found.task, data=found.training, augmentation=ALL)


# What goes wrong

@pytest.mark.parametrize(("changes", "message"), [
    ({"batch_size": 0}, "batch size 0 must be positive"),
    ({"workers": -1}, "-1 workers"),
    ({"batch_size": 5, "augmentation": TimmAugmentation(mixup=0.2)}, "batch size 5 is odd"),
    ({"augmentation": TimmAugmentation(auto_augment="rand-x9")}, "timm does not take"),
    ({"augmentation": TimmAugmentation(auto_augment="nonsense")}, "timm does not take"),
    ({"augmentation": TimmAugmentation(interpolation="nonsense")}, "timm does not take"),
])
def test_bad_input(make: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [
    {"hflip": 1.5}, {"re_prob": -0.1}, {"scale": (0.5, 0.2)}, {"scale": (0.0, 1.0)},
    {"ratio": (0.0, 1.0)}, {"color_jitter": -1.0}, {"mixup": float("nan")},
    {"re_mode": "nothing"}])
def test_augmentation_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        TimmAugmentation(**changes)


def test_fewer_images_than_a_batch(make: Any) -> None:
    with pytest.raises(DataError, match="22 images are fewer than one batch of 64"):
        make(batch_size=64).checked_steps_per_epoch()


def test_images_of_other_classes(make: Any, tmp_path: Path) -> None:
    other = open_task("", write_classes(tmp_path, {"x": 5, "y": 5}), preprocessing=SMALL, seed=0)
    with pytest.raises(DataError, match="other classes than the task"):
        make(data=other.training)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_became_unreadable(make: Any, tmp_path: Path, workers: int) -> None:
    root = write_classes(tmp_path, {"a": 5, "b": 5})
    found = open_task("", root, preprocessing=SMALL, seed=0)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    batches = make(task=found.task, data=found.training, workers=workers)
    with pytest.raises(DataError, match=r"image .*\.png cannot be read") as error:
        batches.batch(0)
    assert "\n" not in str(error.value)


def test_a_worker_that_is_killed(make: Any) -> None:
    batches = make(workers=1)
    before = set(multiprocessing.active_children())
    batches.batch(0)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    worker.join()
    with pytest.raises(EvaluationError, match="prepares batches was killed") as error:
        [batches.batch(step) for step in range(1, 9)]  # some were ready
    assert "\n" not in str(error.value)
    assert same(batches.batch(1), make().batch(1))


def test_workers_do_not_outlive_a_killed_training(opened: Opened) -> None:
    """The main process has no time to end them."""
    context = multiprocessing.get_context("fork")
    theirs, ours = context.Pipe()

    def training() -> None:
        batches = ImageBatches(task=opened.task, data=opened.training, batch_size=6, seed=3,
                               augmentation=None, workers=2)
        batches.batch(0)
        theirs.send([child.pid for child in multiprocessing.active_children()])
        os.kill(os.getpid(), signal.SIGKILL)

    process = context.Process(target=training)
    process.start()
    workers = ours.recv()
    process.join()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
