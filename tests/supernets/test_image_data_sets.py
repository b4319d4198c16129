"""Data sets by timm's names."""

import gzip
import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import add, picture, write_classes, write_images, write_shard
from PIL import Image

from nas.core.errors import DataError
from supernets.tasks.opening import open_images
from supernets.tasks.sources import ImageSet


def same_pixels(a: Image.Image, b: Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


# Folders

def test_a_folder_has_the_splits_that_it_has(tmp_path: Path) -> None:
    for split, name in (("train", "training"), ("validation", "val"), ("test", "test")):
        write_classes(tmp_path / name, {"cat": 2, "dog": 3}, seed=len(name))
        found = open_images("folder", tmp_path)
        assert list(found)[-1] == split
        assert found[split].labels.tolist() == [0, 0, 1, 1, 1]
        assert found[split].class_names == ("cat", "dog")
        assert Path(found[split].name(4)) == tmp_path / name / "dog" / "002.png"


def test_a_folder_of_classes_is_to_train_on(tmp_path: Path) -> None:
    write_classes(tmp_path, {"class 10": 1, "class 9": 2})
    found = open_images("", tmp_path)
    assert list(found) == ["train"]
    assert found["train"].class_names == ("class 9", "class 10")  # in timm's natural order
    with Image.open(tmp_path / "class 10" / "000.png") as stored:
        assert same_pixels(found["train"].image(2, "RGB"), stored)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / ".thumbnails").mkdir()
    assert open_images("", tmp_path)["train"].class_names == ("a", "b")


def empty_class(root: Path) -> None:
    write_classes(root, {"a": 2, "b": 2})
    for name in ("y", "x"):
        (root / name).mkdir()
    (root / "x" / "notes.txt").write_text("nothing")


def loose_image(root: Path) -> None:
    write_classes(root, {"a": 2, "b": 2})
    write_images(root, 1)


def more_classes_to_validate(root: Path) -> None:
    write_classes(root / "train", {"a": 2, "b": 2})
    write_classes(root / "val", {"a": 2, "b": 2, "c": 2})


@pytest.mark.parametrize(("make", "message"), [
    (empty_class, r"class folder .*/x holds no images .*; 2 of the folders in .* do not"),
    (loose_image, r"000\.png lies in no class folder"),
    (more_classes_to_validate, "class c is in train or in validation of .* but not in both"),
    (lambda root: write_classes(root, {"only": 3}), r"images of one class \(only\); two are"),
    (lambda root: root.mkdir(), r"holds no images \(.png, .jpg, .jpeg\)"),
    (lambda root: root.write_text("file"), "is no folder"),
    (str, "does not exist"),
])
def test_folders_that_cannot_be_used(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(DataError, match=message) as error:
        open_images("folder", tmp_path / "data")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tfds/cifar10", "cifar10", "torch", "torch/", "hfds/", "idx/x"])
def test_unknown_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"unknown data set .*folder, idx, torch/NAME, hfds/NAME"):
        open_images(name, tmp_path)


# idx files

def write_idx(root: Path, *, classes: int = 3) -> Mapping[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    stored = {}
    for split, count in (("train", 4 * classes), ("t10k", 2 * classes)):
        images = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = (np.arange(count) % classes).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(
                size.to_bytes(4, "big") for size in array.shape)
            (root / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
        stored[split] = images
    return stored


@pytest.mark.parametrize("name", ["folder", "idx"])
def test_idx_files_are_read_as_before(tmp_path: Path, name: str) -> None:
    stored = write_idx(tmp_path)
    found = open_images(name, tmp_path)
    assert {split: len(data) for split, data in found.items()} == {"train": 12, "test": 6}
    assert found["test"].class_names == ("0", "1", "2")
    assert same_pixels(found["test"].image(4, "L"), stored["t10k"][4])
    assert found["test"].image(4, "RGB").mode == "RGB"


# torchvision

def test_torchvision_reads_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    stored = write_idx(folder, classes=10)
    for file in folder.iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    found = open_images("torch/mnist", tmp_path)
    assert {split: len(data) for split, data in found.items()} == {"train": 40, "validation": 20}
    assert found["train"].class_names[3] == "3 - three"
    assert found["validation"].labels.tolist() == 2 * list(range(10))
    assert same_pixels(found["validation"].image(7, "L"), stored["t10k"][7])


def test_a_class_without_images(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    write_idx(folder, classes=3)
    for file in folder.iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    with pytest.raises(DataError, match=r"class 3 - three has no images in train .*; 7 of 10"):
        open_images("torch/mnist", tmp_path)


def test_folders_by_torchvisions_name(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 2})
    assert len(open_images("torch/image_folder", tmp_path)["train"]) == 4


@pytest.mark.parametrize(("name", "message"), [
    ("torch/cifar10", "torch/cifar10 cannot be read from .*; put it there or allow the download"),
    ("torch/nothing", "torchvision has no data set 'nothing'"),
])
def test_nothing_is_downloaded_unless_it_is_allowed(tmp_path: Path, name: str,
                                                    message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_images(name, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


# WebDataset

def test_shards_are_read_in_any_order(tmp_path: Path) -> None:
    write_shard(tmp_path / "x-train-000.tar", [0, 1, 2], seed=10)
    write_shard(tmp_path / "x-train-001.tar", [3, 0], seed=20)
    write_shard(tmp_path / "x-val-000.tar", [1, 2, 0, 3], seed=30)
    found = open_images("wds/x", tmp_path)
    assert found["train"].labels.tolist() == [0, 1, 2, 3, 0]
    assert found["validation"].class_names == ("0", "1", "2", "3")
    assert same_pixels(found["train"].image(4, "RGB"), picture(21))
    assert same_pixels(found["train"].image(1, "RGB"), picture(11))


def test_timms_info_file_names_the_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "one.tar", [0, 1])
    write_shard(tmp_path / "two.tar", [1, 0, 1], seed=9)
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {
        "train": {"filenames": ["two.tar"]}, "val": {"filenames": ["one.tar"]}}}))
    found = open_images("wds", tmp_path)
    assert {split: len(data) for split, data in found.items()} == {"train": 3, "validation": 2}


def without_class(root: Path) -> None:
    write_shard(root / "train.tar", [0, 1])
    with tarfile.open(root / "train.tar", "a:") as archive:
        add(archive, "last.png", b"image")


@pytest.mark.parametrize(("make", "message"), [
    (lambda root: root.mkdir(), "holds no .tar archive"),
    (lambda root: write_shard(root / "part.tar", [0, 1]), "no archive is of the split train"),
    (lambda root: write_shard(root / "train.tar", [0, 1], mode="w:gz"), "read as a plain .tar"),
    (lambda root: write_shard(root / "train.tar", []), "holds no image"),
    (lambda root: write_shard(root / "train.tar", [0, -1]), "has no class"),
    (lambda root: write_shard(root / "train.tar", [0, 2]), "class 1 has no images in train"),
    (without_class, "image last in .* has no class"),
])
def test_shards_that_cannot_be_used(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(DataError, match=message):
        open_images("wds/x", tmp_path / "data")


def test_a_truncated_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.tar", [0, 1])
    raw = (tmp_path / "train.tar").read_bytes()
    (tmp_path / "train.tar").write_bytes(raw[:2000])
    with pytest.raises(DataError, match=r"train\.tar cannot be read as a plain \.tar"):
        open_images("wds/x", tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"splits": {"train": {}}}', '{"splits": 3}'])
def test_a_damaged_info_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "info.json").write_text(content)
    with pytest.raises(DataError, match=r"info\.json does not name the archives"):
        open_images("wds/x", tmp_path)


# Hugging Face

def test_the_hub_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="needs the package datasets; install it with pip"):
        open_images("hfds/cifar10", tmp_path)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A data set that the package reads from a folder."""
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    for split, count in (("train", 3), ("test", 2)):
        write_classes(tmp_path / "source" / split, {"cat": count, "dog": count}, seed=count)
    return tmp_path


@pytest.mark.filterwarnings("default")  # of the package's own
def test_the_hubs_data_sets(hub: Path) -> None:
    (hub / "cache").mkdir()
    found = open_images(f"hfds/{hub / 'source'}", hub / "cache")
    assert {split: len(data) for split, data in found.items()} == {"train": 6, "test": 4}
    assert found["train"].class_names == ("cat", "dog")
    with Image.open(hub / "source" / "train" / "cat" / "000.png") as stored:
        assert same_pixels(found["train"].image(0, "RGB"), stored)


@pytest.mark.filterwarnings("default")
def test_the_hub_is_not_asked_unless_it_is_allowed(hub: Path) -> None:
    import datasets

    (hub / "cache").mkdir()
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(DataError, match=r"hfds/nobody/nothing cannot be read from .*allow the"):
        open_images("hfds/nobody/nothing", hub / "cache")
    assert before == datasets.config.HF_HUB_OFFLINE


# What sets are equal

def test_a_fingerprint_tells_sets_apart(tmp_path: Path) -> None:
    first = write_classes(tmp_path / "one", {"a": 3, "b": 3})
    second = write_classes(tmp_path / "two", {"a": 3, "b": 3})
    prints = {name: open_images("", root)["train"].fingerprint()
              for name, root in (("one", first), ("two", second))}
    assert prints["one"] == prints["two"]
    data = open_images("", first)["train"]
    (first / "a" / "000.png").write_bytes(b"something else")
    assert open_images("", first)["train"].fingerprint() != prints["one"]
    (second / "a" / "000.png").rename(second / "a" / "009.png")
    assert open_images("", second)["train"].fingerprint() != prints["two"]
    order = ImageSet(data.source, data.rows[::-1])
    assert order.fingerprint() != data.fingerprint()
