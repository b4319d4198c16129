"""`nas train` asked for again: the same goes on or has finished, another is told what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm_trainings import CLASSES, SIDE, write_pictures

from cli.main import main
from nas.core.errors import DataError, InputError, RunInterrupted
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, train

Request = Callable[..., TrainRequest]


def save_weights(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet", num_classes=len(CLASSES)).state_dict(), path)
    return path


def stop(event: Event) -> None:
    if event.stage == "train" and event.done == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "first.pth", 0)


@pytest.fixture(scope="module")
def stopped(timm_request: Request, weights: Path,
            tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped training; not to be changed."""
    out = tmp_path_factory.mktemp("stopped") / "net"
    with pytest.raises(RunInterrupted):
        train(timm_request(out, weights=weights, epochs=1, checkpoint_s=0.0), watch=stop)
    return out


@pytest.mark.parametrize(("options", "said"), [
    ({"importance": "none"}, "--importance is 'activation' there, 'none' here"),
    ({"pretrained": True, "weights": None}, "--pretrained is False there, True here"),
    ({"new_head": True}, "--new-head is False there, True here"),
    ({"weights": None}, r"--weights is 'first.pth \(sha256 .{12}\)' there, None here"),
    ({"image_size": 48}, "--image-size is 32 there, 48 here"),
    ({"resolutions": "24,16"}, r"--resolutions is \(\) there, \(16, 24\) here"),
    ({"seed": 1}, "--seed is 0 there, 1 here"),
    ({"supernet": "timm:test_vit"}, "--supernet is 'timm:test_resnet' there, 'timm:test_vit' here"),
    ({"epochs": 2}, "--epochs is 1 there, 2 here"),
    ({"optimizer": "sgd"}, "--optimizer is 'adamw' there, 'sgd' here"),
    ({"auto_augment": "rand-m9"}, "--auto-augment is '' there, 'rand-m9' here"),
    ({"crop_scale": "0.08,1"}, r"--crop-scale is \(0.35, 1.0\) there, \(0.08, 1.0\) here"),
    ({"mixup": 0.2}, "--mixup is 0.0 there, 0.2 here")])
def test_other_options_are_noticed(timm_request: Request, stopped: Path, weights: Path,
                                   options: dict[str, Any], said: str) -> None:
    again = timm_request(stopped, **{"weights": weights, "epochs": 1, **options})
    with pytest.raises(DataError, match=f"of another training \\({said}\\); give that again, "
                                        "remove it to start anew, or use another --out") as error:
        train(again)
    assert "\n" not in str(error.value)


def test_a_weights_file_is_known_by_what_is_in_it(timm_request: Request, stopped: Path,
                                                  weights: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(stopped, tmp_path / "net"))
    other = save_weights(tmp_path / "other" / "first.pth", 1)
    with pytest.raises(DataError, match=r"--weights is 'first.pth \(.*' there, 'first.pth \("):
        train(timm_request(out, weights=other, epochs=1))
    with pytest.raises(InputError, match=r"gone\.pth does not exist"):
        train(timm_request(out, weights=tmp_path / "gone.pth", epochs=1))
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.copy(weights, tmp_path / "moved"))
    events: list[Event] = []
    train(timm_request(out, weights=moved, epochs=1, workers=1, checkpoint_s=9.0),
          watch=events.append)
    steps = [event.done for event in events if event.stage == "train"]
    assert (steps[0] > 1, steps[-1]) == (True, 9)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_finished_training_says_so_and_stays(timm_request: Request, image_folder: Path,
                                               tmp_path: Path, epochs: int,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net"
    command = ["train", "--supernet", "timm:test_resnet", "--data", str(image_folder), "--out",
               str(out), "--image-size", str(SIDE), "--epochs", str(epochs), "--batch-size", "16"]
    assert main(command) == 0
    assert "already" not in capsys.readouterr().err
    before = {path.name: path.read_bytes() for path in out.glob("[sw]*")}
    assert main(command) == 0
    said = capsys.readouterr()
    assert f"finished: {out} was trained already" in said.err
    assert f"trained: {out}" in said.out
    assert before == {path.name: path.read_bytes() for path in out.glob("[sw]*")}
    assert {"supernet.json", "weights.safetensors"} == set(before)
    with pytest.raises(DataError, match=f"--epochs is {epochs} there, 3 here"):
        train(timm_request(out, epochs=3))


@pytest.mark.parametrize("epochs", [0, 1])
def test_other_images_are_another_training(timm_request: Request, tmp_path: Path,
                                           epochs: int) -> None:
    out = train(timm_request(tmp_path / "net", epochs=epochs))
    other = write_pictures(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match=r"of another training \((fingerprint|space) is"):
        train(timm_request(out, data=other, epochs=epochs))


# What is random about images

def test_augmentation_as_timm_calls_it(image_folder: Path, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net"
    command = ["train", "--supernet", "timm:test_resnet", "--data", str(image_folder), "--out",
               str(out), "--image-size", str(SIDE), "--epochs", "1", "--batch-size", "16",
               "--scale", "0.5,1", "--hflip", "0", "--aa", "rand-m9-mstd0.5", "--reprob", "0.25",
               "--mixup", "0.2", "--cutmix", "1"]
    assert main(command) == 0
    assert main([*command[:-1], "0.5"]) == 2
    assert "--cutmix is 1.0 there, 0.5 here" in capsys.readouterr().err


@pytest.mark.parametrize("options", [
    {"crop_scale": "0.08,1"}, {"hflip": 0.0}, {"color_jitter": 0.4}, {"auto_augment": "rand-m9"},
    {"random_erasing": 0.5}, {"mixup": 0.2}, {"cutmix": 1.0}])
def test_each_option_reaches_the_images(timm_request: Request, tmp_path: Path,
                                        options: dict[str, Any]) -> None:
    def losses(out: Path, **more: Any) -> list[str]:
        notes: list[str] = []

        def watch(event: Event) -> None:
            if event.stage == "train":
                notes.append(event.note)
            stop(event)

        with pytest.raises(RunInterrupted):
            train(timm_request(out, **more), watch=watch)
        return notes

    assert losses(tmp_path / "usual") != losses(tmp_path / "other", **options)


def test_policies_are_for_colours(timm_request: Request, idx_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="auto_augment 'rand-m9' is for images of 3 channels"):
        train(timm_request(tmp_path / "net", data=idx_folder, auto_augment="rand-m9"))
    assert list(tmp_path.iterdir()) == []


# Around the front of a search

def test_training_around_a_front(timm_request: Request, timm_run: Path, timm_folder: Path,
                                 tmp_path: Path) -> None:
    around = timm_request(tmp_path / "net", rule="pareto", front=timm_run)
    found = train(around)
    assert (found / "weights.safetensors").read_bytes() \
        != (timm_folder / "weights.safetensors").read_bytes()
    moved = Path(shutil.copytree(timm_run, tmp_path / timm_run.name))
    train(timm_request(found, rule="pareto", front=moved))
    pareto = (moved / "pareto.json").read_text()
    (moved / "pareto.json").write_text(pareto.replace('"pareto": [', '"pareto": [], "old": ['))
    with pytest.raises(DataError, match=r"--front is 'run \(. networks, .*, 'run \(0 networks"):
        train(timm_request(found, rule="pareto", front=moved))


def test_fronts_that_are_none(timm_request: Request, timm_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a search of timm:test_resnet/.*, and timm:test_vit/"):
        train(timm_request(tmp_path / "net", supernet="timm:test_vit", image_size=48,
                           rule="pareto", front=timm_run))
    unfinished = Path(shutil.copytree(timm_run, tmp_path / "run"))
    (unfinished / "pareto.json").write_text("{}")
    with pytest.raises(InputError, match=r"pareto\.json cannot be read"):
        train(timm_request(tmp_path / "net", rule="pareto", front=unfinished))
    (unfinished / "pareto.json").unlink()
    with pytest.raises(InputError, match="has not finished; go on with: nas search --resume"):
        train(timm_request(tmp_path / "net", rule="pareto", front=unfinished))
