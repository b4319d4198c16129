"""Images to train single networks on: the task's own, or a folder without what is held out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_folders import SMALL, write_classes

from nas.core.errors import DataError
from nas.pipeline.calibration import calibration_inputs
from nas.pipeline.training_images import training_images, without_held_out
from supernets.tasks.opening import open_images
from supernets.tasks.timm_images import Opened, open_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "images", {"a": 20, "b": 20})


@pytest.fixture
def opened(folder: Path) -> Opened:
    """Of a folder without splits: a tenth of each class is searched and one is tested on."""
    return open_task("folder", folder, preprocessing=SMALL, seed=0)


def test_the_tasks_own_images_come_first(opened: Opened) -> None:
    found = training_images(opened.task, None)
    assert found.described == "32 images of the supernet's own"
    assert found.batches(8, 0).steps_per_epoch == 4
    fewer = replace(opened.task, training=None,
                    splits={**opened.task.splits, "train_calib": opened.training.take(
                        np.arange(10))})
    assert training_images(fewer, None).described == "10 images of the supernet's train_calib"
    nothing = replace(fewer, splits={"test": opened.task.splits["test"]})
    with pytest.raises(DataError, match="give --data DIR"):
        training_images(nothing, None)


def test_the_same_folder_or_a_copy_gives_no_image_that_is_held_out(opened: Opened, folder: Path,
                                                                   tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    for data in (folder, copied):
        found = training_images(opened.task, data)
        assert found.described == f"32 images of {data.name}"
        kept = without_held_out(open_images("folder", data)["train"], opened.task)
        assert np.array_equal(kept.rows, opened.training.rows)


def test_images_of_the_same_name_that_are_others_stay(opened: Opened, tmp_path: Path) -> None:
    other = write_classes(tmp_path / "other", {"a": 20, "b": 20}, seed=5)
    assert training_images(opened.task, other).described == "40 images of other"


def test_a_folder_of_held_out_images_alone_is_refused(opened: Opened, tmp_path: Path) -> None:
    for split in ("search", "test"):
        data = opened.task.splits[split]
        for position in range(len(data)):
            source = Path(data.name(position))
            target = tmp_path / "held" / source.parent.name / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    with pytest.raises(DataError, match=r"all images of .*held are in the search or the test"):
        training_images(opened.task, tmp_path / "held")


def test_folders_are_calibrated_with_as_the_task_prepares_them(opened: Opened,
                                                               tmp_path: Path) -> None:
    data = opened.task.splits["train_calib"]
    (tmp_path / "own").mkdir()
    for position in range(len(data)):
        shutil.copy(data.name(position), tmp_path / "own" / f"{position:03d}.png")
    found = calibration_inputs(opened.task, tmp_path / "own")
    assert found.described == f"{len(data)} inputs of own"
    assert np.array_equal(found.inputs, calibration_inputs(opened.task, None).inputs)


def test_calibration_images_that_are_tested_on_are_refused(opened: Opened, tmp_path: Path) -> None:
    for position in range(len(opened.task.splits["test"])):
        source = Path(opened.task.splits["test"].name(position))
        (tmp_path / "tested").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "tested" / f"{position}.png")
    with pytest.raises(DataError, match="4 of the 4 calibration images are in the test"):
        calibration_inputs(opened.task, tmp_path / "tested")
