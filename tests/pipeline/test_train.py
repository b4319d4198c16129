"""`train` on a folder of idx files: the supernet folder, resume, and what the images are for."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nas.core.errors import InputError, RunInterrupted
from nas.pipeline.compose import load_supernet
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, make_request, train

CLASSES, SIDE = 3, 16


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 96), ("t10k", 48)):
        labels = np.arange(count, dtype=np.uint8) % CLASSES
        images = rng.integers(0, 120, (count, SIDE, SIDE), dtype=np.uint8)
        images[np.arange(count), labels * 5] += 100  # a bright row tells the class
        header = struct.pack(">4I", 0x803, count, SIDE, SIDE)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes()))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, count) + labels.tobytes())
    (folder / "labels.txt").write_text("top\nmiddle\nbottom\n")
    return folder


def request(idx_folder: Path, out: Path) -> TrainRequest:
    return make_request({"data": idx_folder, "out": out, "epochs": 2, "batch_size": 16})


@pytest.fixture(scope="module")
def trained(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(request(idx_folder, tmp_path_factory.mktemp("out") / "supernet"))


def test_the_folder_is_a_supernet_of_these_images(trained: Path) -> None:
    supernet = load_supernet(str(trained))
    assert supernet.space.id == f"mobilenet-{SIDE}x{SIDE}-{CLASSES}/1"
    splits = {name: sum(len(targets) for _, targets in supernet.task.batches(name))
              for name in ("train_calib", "search", "test")}
    assert splits == {"train_calib": 96, "search": 24, "test": 24}
    assert '"top"' in supernet.task.onnx_metadata()["labels"]
    outputs = supernet(torch.zeros(2, 1, SIDE, SIDE), supernet.space.extreme(largest=True))
    assert outputs.shape == (2, CLASSES)


def test_held_out_halves_are_disjoint_balanced_and_never_trained_on(trained: Path) -> None:
    task = load_supernet(str(trained)).task
    images = {}
    for split in ("train_calib", "search", "test"):
        parts = list(task.batches(split))
        images[split] = {row.numpy().tobytes() for x, _ in parts for row in x}
        labels = torch.cat([targets for _, targets in parts])
        assert len(set(torch.bincount(labels).tolist())) == 1
    assert not images["search"] & images["test"]
    assert not images["train_calib"] & (images["search"] | images["test"])


def test_buffers_are_those_of_the_largest_network(trained: Path) -> None:
    supernet = load_supernet(str(trained))
    largest = supernet.space.extreme(largest=True)
    x = next(iter(supernet.task.batches("search")))[0]
    measured = supernet.recalibrated(largest, supernet.task.batches("train_calib"))
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, largest), measured(x), rtol=1e-4, atol=1e-4)


def test_stopped_and_resumed_equals_uninterrupted(idx_folder: Path, trained: Path, tmp_path: Path
                                                  ) -> None:
    def stop(event: Event) -> None:
        if event.done == 7:
            raise KeyboardInterrupt

    often = request(idx_folder, tmp_path / "cut").model_copy(update={"checkpoint_s": 0.0})
    with pytest.raises(RunInterrupted, match="the same command goes on"):
        train(often, watch=stop)
    resumed = load_file(train(often) / "weights.safetensors")
    whole = load_file(trained / "weights.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_label_names_must_fit(idx_folder: Path, tmp_path: Path) -> None:
    for path in idx_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="names 2 classes, but the labels have 3"):
        train(request(tmp_path, tmp_path / "out"))


def test_a_finished_training_with_other_options_is_refused(idx_folder: Path,
                                                           trained: Path) -> None:
    other = make_request({"data": idx_folder, "out": trained, "epochs": 3, "batch_size": 16})
    with pytest.raises(InputError, match="another training"):
        train(other)
