"""`train` on a folder of idx files: the supernet folder, resume, and what the images are for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.core.errors import InputError, RunInterrupted
from nas.core.locks import locked
from nas.pipeline.compose import load_supernet
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, train

CLASSES, SIDE = 3, 16  # of `idx_folder`

Request = Callable[..., TrainRequest]


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


def test_stopped_and_resumed_equals_uninterrupted(request_for: Request, trained: Path,
                                                  tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.done == 7:
            raise KeyboardInterrupt

    often = request_for(tmp_path / "cut", checkpoint_s=0.0)
    with pytest.raises(RunInterrupted, match="the same command goes on"):
        train(often, watch=stop)
    resumed = load_file(train(often) / "weights.safetensors")
    whole = load_file(trained / "weights.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_label_names_must_fit(idx_folder: Path, request_for: Request, tmp_path: Path) -> None:
    for path in idx_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="names 2 classes, but the labels have 3"):
        train(request_for(tmp_path / "out", data=tmp_path))


def test_a_finished_training_with_other_options_is_refused(request_for: Request,
                                                           trained: Path) -> None:
    with pytest.raises(InputError, match="another training"):
        train(request_for(trained, epochs=3))


def test_two_trainings_in_one_folder(request_for: Request, tmp_path: Path) -> None:
    with locked(tmp_path, "training"), pytest.raises(InputError, match="another training is at"):
        train(request_for(tmp_path))
    assert list(tmp_path.iterdir()) == []
