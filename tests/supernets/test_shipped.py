"""The supernet in the package: what it was trained on, what it is measured on, how good it is."""

import itertools
import json
from pathlib import Path

import pytest
import torch

import supernets.shipped
from nas.pipeline.compose import load_supernet
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.supernet import MobileNetSupernet

FOLDER = Path(supernets.shipped.__file__).parent / "mobilenet_fmnist"


@pytest.fixture(scope="module")
def shipped() -> MobileNetSupernet:
    supernet = load_supernet("mobilenet-fmnist")
    assert isinstance(supernet, MobileNetSupernet)
    return supernet


def test_space(shipped: MobileNetSupernet) -> None:
    assert shipped.config == FMNIST
    assert shipped.space.size == 3_042_748_800


def test_files_are_small_and_come_with_licence_and_provenance() -> None:
    assert (FOLDER / "weights.safetensors").stat().st_size <= 4_000_000
    assert "Zalando" in (FOLDER / "LICENSE").read_text()
    provenance = json.loads((FOLDER / "supernet.json").read_text())["provenance"]
    assert provenance["trained_by"] == "nas train"
    assert provenance["arguments"]["epochs"] >= 30
    assert len(provenance["data_sha256"]) == 4


def test_splits_are_balanced_and_disjoint(shipped: MobileNetSupernet) -> None:
    images: dict[str, set[bytes]] = {}
    for split, count in (("train_calib", 2048), ("search", 5000), ("test", 5000)):
        batches = list(shipped.task.batches(split))
        labels = torch.cat([targets for _, targets in batches])
        classes = torch.bincount(labels, minlength=10)
        assert len(labels) == count
        assert int(classes.max() - classes.min()) <= 1
        images[split] = {x.numpy().tobytes() for x in torch.cat([x for x, _ in batches])}
    for a, b in itertools.combinations(images, 2):
        assert not images[a] & images[b], (a, b)


@pytest.mark.parametrize(("largest", "at_least"), [(True, 91.5), (False, 88.5)])
def test_accuracy_with_inherited_weights(shipped: MobileNetSupernet, largest: bool,
                                         at_least: float) -> None:
    task = shipped.task
    module = shipped.recalibrated(shipped.space.extreme(largest=largest),
                                  task.batches("train_calib"))
    images = itertools.chain(task.batches("search"), task.batches("test"))
    assert 100 - task.metrics(module, images)["error"] >= at_least
