"""The task of images of any size: what is left out, what a search reads."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import SMALL, grey_images, write_classes
from torch import nn

from nas.core.errors import DataError
from supernets.tasks.checking import Unreadable, without_unreadable
from supernets.tasks.opening import open_images
from supernets.tasks.sources import ImageSet
from supernets.tasks.timm_images import Opened, PixelCache, TimmImages, open_task

# Unreadable images

def damage(root: Path, *names: str) -> None:
    """Cuts one file short, makes one empty and writes text into the others."""
    for number, name in enumerate(names):
        raw = (root / name).read_bytes()
        (root / name).write_bytes((raw[:len(raw) // 2], b"", b"no image")[min(number, 2)])


@pytest.fixture
def damaged(tmp_path: Path) -> ImageSet:
    root = write_classes(tmp_path / "data", {"a": 150, "b": 150})
    damage(root, "a/004.png", "b/000.png", "b/149.png")
    return open_images("", root)["train"]


@pytest.mark.parametrize("threads", [1, 3])
def test_unreadable_images_are_left_out_and_listed(damaged: ImageSet, threads: int) -> None:
    progress: list[tuple[int, int]] = []
    kept, unreadable = without_unreadable(
        damaged, mode="RGB", threads=threads,
        on_image=lambda done, total: progress.append((done, total)))
    assert len(kept) == 297
    assert [Path(name).parent.name + "/" + Path(name).name for name, _ in unreadable.reasons] == [
        "a/004.png", "b/000.png", "b/149.png"]
    assert unreadable.lines()[0] == "3 of 300 images cannot be read and are left out"
    assert len(unreadable.lines()) == 4
    assert not any("\n" in line for line in unreadable.lines())
    assert progress == [(done, 300) for done in range(1, 301)]
    for position in range(len(kept)):
        kept.image(position, "RGB")


def test_what_was_read_is_remembered(damaged: ImageSet, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "checked.json"
    first, found = without_unreadable(damaged, mode="RGB", cache=cache)
    without_unreadable(grey_images(3, 3), mode="RGB", cache=cache)

    def reads(*_: Any) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(ImageSet, "decode", reads)
        again, recalled = without_unreadable(damaged, mode="RGB", cache=cache)
    assert recalled == found
    np.testing.assert_array_equal(again.rows, first.rows)

    damage(Path(damaged.source.where), "a/000.png")
    renewed = open_images("", Path(damaged.source.where))["train"]
    with pytest.raises(DataError, match="4 of 300 images"):
        without_unreadable(renewed, mode="RGB", cache=cache)
    assert len(json.loads(cache.read_bytes())) == 2


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"x": 3}', b"\xff\xfe"])
def test_a_damaged_memory_is_written_anew(damaged: ImageSet, tmp_path: Path,
                                          content: bytes) -> None:
    cache = tmp_path / "checked.json"
    cache.write_bytes(content)
    assert len(without_unreadable(damaged, mode="RGB", cache=cache)[0]) == 297
    assert len(json.loads(cache.read_bytes())) == 1


def test_more_than_a_hundredth_is_an_error(damaged: ImageSet) -> None:
    damage(Path(damaged.source.where), "a/100.png")
    with pytest.raises(DataError, match=r"4 of 300 images of .* cannot be read, more than 1%; the "
                                        r"first is .*a/004\.png \(") as error:
        without_unreadable(damaged, mode="RGB")
    assert "\n" not in str(error.value)


def test_a_class_of_which_nothing_is_left(tmp_path: Path) -> None:
    root = write_classes(tmp_path, {"a": 150, "b": 1})
    damage(root, "b/000.png")
    with pytest.raises(DataError, match="no image of class b of"):
        without_unreadable(open_images("", root)["train"], mode="RGB")


def test_nothing_unreadable() -> None:
    data = grey_images(3, 3)
    kept, unreadable = without_unreadable(data, mode="L")
    assert kept is data
    assert unreadable == Unreadable(6)
    assert unreadable.lines() == ["all 6 images can be read"]


# The task

def opened(root: Path, **changes: Any) -> Opened:
    return open_task("folder", root, **{"preprocessing": SMALL, "seed": 1, "batch_size": 4,
                                        **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", {"a": 20, "b": 20})


def test_batches_are_inputs_and_classes_in_a_fixed_order(root: Path) -> None:
    task = opened(root).task
    batches = list(task.batches("train_calib"))
    assert [len(targets) for _, targets in batches] == 8 * [4]
    x, targets = batches[0]
    assert x.shape == (4, 3, 16, 16)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x.dtype, targets.dtype) == (torch.float32, torch.int64)
    assert torch.cat([t for _, t in batches]).tolist() == task.splits["train_calib"].labels.tolist()
    for again in (task, opened(root).task, pickle.loads(pickle.dumps(task))):
        for (a, b), (c, d) in zip(batches, again.batches("train_calib"), strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


def test_batches_are_the_callers_own(root: Path) -> None:
    task = opened(root).task
    before = [x.clone() for x, _ in task.batches("search")]
    for x, _ in task.batches("search"):
        x.zero_()
    assert all(torch.equal(a, b)
               for a, (b, _) in zip(before, task.batches("search"), strict=True))


def test_the_cache_holds_no_more_than_it_may(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = ImageSet.decode

    def counted(self: ImageSet, position: int, mode: str) -> Any:
        read.append(position)
        return decode(self, position, mode)

    plain = replace(opened(root).task, cache=PixelCache(0))
    small = replace(plain, cache=PixelCache(5 * 3 * 16 * 16))
    expected = [x for x, _ in plain.batches("train_calib")]
    monkeypatch.setattr(ImageSet, "decode", counted)
    for reads in (32, 27, 27):
        read.clear()
        found = [x for x, _ in small.batches("train_calib")]
        assert len(read) == reads
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_cache_is_of_one_preprocessing(root: Path) -> None:
    task = opened(root).task
    list(task.batches("search"))
    larger = replace(task, preprocessing=replace(SMALL, input_shape=(3, 20, 20)))
    assert next(larger.batches("search"))[0].shape == (4, 3, 20, 20)


def test_grey_inputs(root: Path) -> None:
    grey = replace(SMALL, input_shape=(1, 16, 16), mean=(0.5,), std=(0.2,))
    x, _ = next(opened(root, preprocessing=grey).task.batches("test"))
    assert x.shape == (4, 1, 16, 16)
    assert x.stride()[1] == 1


def test_what_a_network_is_told_and_scored_by(root: Path) -> None:
    task = opened(root).task
    about = task.onnx_metadata()
    assert json.loads(about["labels"]) == ["a", "b"]
    assert json.loads(about["preprocessing"])["shape"] == [3, 16, 16]
    assert task.example_inputs(2, np.random.default_rng(0)).shape == (2, 3, 16, 16)

    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(x), -1)

    assert task.metrics(Always(), task.batches("search")) == {"error": 50.0}
    hard = task.loss(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    assert torch.equal(hard, task.loss(torch.zeros(3, 2), torch.full((3, 2), 0.5)))


def test_what_was_left_out_is_told(root: Path, tmp_path: Path) -> None:
    write_classes(root, {"c": 100}, seed=5)
    damage(root, "c/017.png")
    found = opened(root, checked=tmp_path / "checked.json")
    assert len(found.unreadable["train"].reasons) == 1
    assert "c/017.png" in found.unreadable["train"].lines()[1]
    assert len(found.training) == 16 + 16 + 81
    assert not {path.name for path in root.iterdir()} - {"a", "b", "c"}


def test_another_number_of_classes_than_the_network_has(root: Path) -> None:
    with pytest.raises(DataError, match=r"data has 2 classes, but the network has 1000; give"):
        opened(root, classes=1000)
    with pytest.raises(DataError, match="search has 2 classes, but the network has 3"):
        TimmImages(labels=("a", "b", "c"), preprocessing=SMALL,
                   splits={"search": opened(root).training})
    assert len(opened(root, classes=2).task.labels) == 2


def test_splits_that_are_not_there(root: Path) -> None:
    task = replace(opened(root).task, splits={})
    with pytest.raises(DataError, match="no split 'test'; it has none"):
        next(task.batches("test"))
    with pytest.raises(DataError, match="split 'train' is none of"):
        replace(task, splits={"train": opened(root).training})


def test_an_image_that_has_gone_since(root: Path) -> None:
    found = opened(root)
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"image .*\.png cannot be read \(.*No such file") as error:
        next(found.task.batches("search"))
    assert "\n" not in str(error.value)
