import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced, halves


def labelled(count: int, *shape: int, seed: int = 0) -> LabelledImages:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    images.setflags(write=False)
    return LabelledImages(images, rng.integers(0, 3, count, dtype=np.uint8))


def make_task(*, channels: int = 1, count: int = 10, batch_size: int = 4) -> ImageClassification:
    shape = (6, 5) if channels == 1 else (6, 5, channels)
    return ImageClassification(labels=("a", "b", "c"), input_shape=(channels, 6, 5), mean=0.3,
                               std=0.2, splits={"search": labelled(count, *shape)},
                               batch_size=batch_size)


class Fixed(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_normalised_images_in_stored_order(channels: int) -> None:
    task = make_task(channels=channels)
    batches = list(task.batches("search"))
    assert [len(targets) for _, targets in batches] == [4, 4, 2]
    x = torch.cat([inputs for inputs, _ in batches])
    targets = torch.cat([t for _, t in batches])
    stored = task.splits["search"]
    images = stored.images[:, None] if channels == 1 else stored.images.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(x.numpy(), (images / 255 - 0.3) / 0.2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targets.numpy(), stored.labels)
    assert x.dtype == torch.float32
    assert targets.dtype == torch.int64


@pytest.mark.parametrize("channels", [1, 3])
def test_inputs_are_channels_last(channels: int) -> None:
    x, _ = next(make_task(channels=channels).batches("search"))
    assert x.stride() == (30 * channels, 1, 5 * channels, channels)


def test_stored_images_are_not_written_to() -> None:
    task = make_task()
    before = task.splits["search"].images.copy()
    for x, _ in task.batches("search"):
        x.zero_()
    np.testing.assert_array_equal(task.splits["search"].images, before)


def test_error_is_in_percent() -> None:
    task = make_task(count=200)
    labels = task.splits["search"].labels
    metrics = task.metrics(Fixed(0.0, 1.0, 0.0).eval(), task.batches("search"))
    assert metrics == {"error": pytest.approx(100 * float((labels != 1).mean()))}


def test_metrics_need_batches_and_finite_logits() -> None:
    task = make_task()
    with pytest.raises(DataError, match="no batches"):
        task.metrics(Fixed(0.0, 1.0, 0.0), [])
    with pytest.raises(EvaluationError, match="not finite"):
        task.metrics(Fixed(0.0, float("nan"), 0.0), task.batches("search"))


def test_loss_is_the_mean_cross_entropy() -> None:
    loss = make_task().loss(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert loss.item() == pytest.approx(np.log(3))


def test_example_inputs_follow_the_rng() -> None:
    task = make_task(channels=3)
    a, b = (task.example_inputs(2, np.random.default_rng(s)) for s in (0, 0))
    assert a.shape == (2, 3, 6, 5)
    assert torch.equal(a, b)
    assert not torch.equal(a, task.example_inputs(2, np.random.default_rng(1)))


def test_metadata_is_json() -> None:
    metadata = make_task().onnx_metadata()
    assert json.loads(metadata["labels"]) == ["a", "b", "c"]
    preprocessing = json.loads(metadata["preprocessing"])
    assert preprocessing["shape"] == [1, 6, 5]
    assert preprocessing["mean"] == 0.3
    assert preprocessing["std"] == 0.2


def test_unknown_split() -> None:
    with pytest.raises(DataError, match="no split 'test'; it has search"):
        next(make_task().batches("test"))
    with pytest.raises(DataError, match="split 'train' is none of train_calib, search, test"):
        ImageClassification(labels=("a",), input_shape=(1, 6, 5), mean=0, std=1,
                            splits={"train": labelled(1, 6, 5)})


def test_data_that_does_not_fit_the_task() -> None:
    task = make_task()
    with pytest.raises(DataError, match=r"images are \(1, 5, 6\)"):
        task.to_input(labelled(2, 5, 6).images)
    with pytest.raises(DataError, match=r"images are \(3, 6, 5\)"):
        task.to_input(labelled(2, 6, 5, 3).images)
    with pytest.raises(DataError, match="label 3 in a task of 3 classes"):
        task.to_targets(np.array([0, 3], dtype=np.uint8))
    with pytest.raises(DataError, match="must be positive"):
        ImageClassification(labels=("a",), input_shape=(1, 6, 5), mean=0, std=0, splits={})
    assert task.to_targets(np.zeros(0, dtype=np.uint8)).shape == (0,)


@pytest.mark.parametrize(("images", "labels"), [((4, 6, 5), (3,)), ((4, 30), (4,)),
                                                ((4, 6, 5), (4, 1))])
def test_images_and_labels_that_do_not_match(images: tuple[int, ...],
                                             labels: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"are not \(N, H, W\[, C\]\) and \(N,\)"):
        LabelledImages(np.zeros(images, np.uint8), np.zeros(labels, np.uint8))


def numbered(count: int) -> LabelledImages:
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1)
    return LabelledImages(images, (np.arange(count) % 3).astype(np.uint8))


def test_halves_are_disjoint_and_balanced() -> None:
    data = numbered(33)
    first, second = halves(data, np.random.default_rng(0))
    assert sorted([*first.images.ravel(), *second.images.ravel()]) == list(range(33))
    assert np.bincount(first.labels).tolist() == [5, 5, 5]
    for half in (first, second):
        np.testing.assert_array_equal(half.labels, half.images.ravel() % 3)


def test_a_balanced_set() -> None:
    data = numbered(60)
    some = balanced(data, 20, np.random.default_rng(0))
    assert np.bincount(some.labels).tolist() == [7, 7, 6]
    assert len(set(some.images.ravel())) == 20
    np.testing.assert_array_equal(some.labels, some.images.ravel() % 3)
    with pytest.raises(DataError, match="class 0 has 20 images; 21 are needed"):
        balanced(data, 61, np.random.default_rng(0))
