"""`nas train` of timm models: from images and weights to a folder that is searched like any."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm_trainings import CLASSES, EACH, SIDE, quick_profile

from cli.main import main
from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import DataError, InputError, RunInterrupted
from nas.core.locks import locked
from nas.pipeline.compose import load_supernet
from nas.pipeline.design import load_design
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, train

Request = Callable[..., TrainRequest]


def test_training_tells_of_model_steps_and_validations(timm_request: Request,
                                                       tmp_path: Path) -> None:
    events: list[Event] = []
    train(timm_request(tmp_path / "net", epochs=1, rule="uniform", tensorboard=True),
          watch=events.append)
    steps = [event for event in events if event.stage == "train"]
    training = len(CLASSES) * (EACH - 2 * (EACH // 10))
    assert [event.done for event in steps] == list(range(1, training // 16 + 1))
    validation, = (event for event in events if event.stage == "validation")
    assert validation.note.startswith("error after epoch 1: smallest ")
    assert ", middle " in validation.note
    assert any("networks, from" in event.note for event in events if event.stage == "model")
    assert list((tmp_path / "net" / "tensorboard").iterdir())


def test_stopped_and_resumed_equals_uninterrupted(timm_request: Request, timm_folder: Path,
                                                  tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.stage == "train" and event.done == 11:
            raise KeyboardInterrupt

    often = timm_request(tmp_path / "cut", checkpoint_s=0.0)
    with pytest.raises(RunInterrupted, match="the same command goes on"):
        train(often, watch=stop)
    resumed = load_file(train(often) / "weights.safetensors")
    whole = load_file(timm_folder / "weights.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_statistics_are_those_of_the_largest_network(timm_folder: Path) -> None:
    supernet: Any = load_supernet(str(timm_folder))
    largest = supernet.space.extreme(largest=True)
    x = next(iter(supernet.task.batches("search")))[0]
    measured = supernet.recalibrated(largest, supernet.task.batches("train_calib"))
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, largest), measured(x), rtol=1e-4, atol=1e-4)


def test_without_training_the_largest_network_is_the_model(timm_request: Request,
                                                           tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    model = timm.create_model("test_resnet", num_classes=len(CLASSES)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.1)
    torch.save(model.state_dict(), weights)
    request = timm_request(tmp_path / "net", epochs=0, weights=weights)
    supernet: Any = load_supernet(str(train(request)))
    x = next(iter(supernet.task.batches("test")))[0]
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, supernet.space.extreme(largest=True)), model(x),
                                   rtol=1e-4, atol=1e-5)


def test_a_new_head_is_told_first(timm_request: Request, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=9).state_dict(), tmp_path / "w.pth")
    request = timm_request(tmp_path / "net", epochs=0, weights=tmp_path / "w.pth", new_head=True)
    events: list[Event] = []
    train(request, watch=events.append)
    notes = [event.note for event in events if event.note]
    assert notes[0] == "a new head for 3 classes: the weights' own has 9"


def test_unreadable_images_are_named(timm_request: Request, image_folder: Path,
                                     tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(CLASSES):
        (data / name).mkdir(parents=True)
        for path in (image_folder / name).iterdir():
            (data / name / path.name).symlink_to(path)
        if number < 1:
            (data / name / "bad.png").write_bytes(b"no image")
    events: list[Event] = []
    folder = train(timm_request(tmp_path / "net", data=data, epochs=0), watch=events.append)
    note = next(event.note for event in events if event.stage == "images" and event.note)
    assert note.startswith("1 of 181 images cannot be read and are left out: ")
    assert note.endswith("bar/bad.png")
    assert "bad.png" in json.loads((folder / "supernet.json").read_text()
                                   )["provenance"]["unreadable"][1]
    (data / "dot" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 182 images of .* more than 1%"):
        train(timm_request(tmp_path / "other", data=data, epochs=0))


def test_idx_files_keep_one_channel_and_get_their_own_mean(timm_request: Request, idx_folder: Path,
                                                           tmp_path: Path) -> None:
    supernet: Any = load_supernet(str(train(timm_request(
        tmp_path / "net", data=idx_folder, epochs=1, importance="taylor"))))
    assert supernet.task.input_shape == (1, SIDE, SIDE)
    assert supernet.task.labels == ("top", "middle", "bottom")
    x = torch.cat([x for x, _ in supernet.task.batches("train_calib")])
    assert abs(float(x.mean())) < 0.1
    assert supernet.task.preprocessing.crop_fraction == 1.0  # they are smaller than that


def test_smaller_resolutions_become_a_choice(timm_request: Request, tmp_path: Path) -> None:
    folder = train(timm_request(tmp_path / "net", epochs=0, resolutions="16,24"))
    supernet: Any = load_supernet(str(folder))
    gene = next(gene for gene in supernet.space.genes if gene.name == "resolution")
    assert gene.choices == (16, 24, SIDE)
    assert supernet.space.id == load_design(str(folder)).space.id
    error = supernet.task.metrics(
        supernet.recalibrated(supernet.space.extreme(largest=False),
                              supernet.task.batches("train_calib")), supernet.task.batches("test"))
    assert 0 <= error["error"] <= 100
    with pytest.raises(InputError, match="has resolutions of its own"):
        load_design(str(folder), resolution=64)


def test_every_option_of_training(timm_request: Request, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", num_classes=3, img_size=48).state_dict(),
               tmp_path / "teacher.pth")
    folder = train(timm_request(
        tmp_path / "net", supernet="timm:test_vit", image_size=48, epochs=1, rule="best-up",
        optimizer="sgd", schedule="one-cycle", learning_rate=0.01, weight_decay=0.01,
        layer_decay=0.8, label_smoothing=0.1, accumulation=2, clip_norm=1.0, ema_decay=0.9,
        precision="bf16", importance="magnitude", calibration=30, teacher="timm:test_vit",
        teacher_weights=tmp_path / "teacher.pth"))
    supernet: Any = load_supernet(str(folder))
    assert sum(len(y) for _, y in supernet.task.batches("train_calib")) == 30


@pytest.mark.parametrize(("options", "said"), [
    ({"rule": "sandwhich"}, "--rule 'sandwhich' is none of sandwich"),
    ({"rule": "pareto"}, "--rule pareto draws around .*: give it with --front RUN_DIR"),
    ({"front": Path("run")}, "--rule pareto draws around .*, and no other rule does"),
    ({"rule": "pareto", "front": Path("nowhere")}, "run folder nowhere does not exist"),
    ({"crop_scale": "0.5"}, "--crop-scale: "), ({"crop_scale": "1,0.5"}, "--crop-scale 1.0,0.5 is"),
    ({"random_erasing": 1.5}, "--random-erasing: "), ({"mixup": -1}, "--mixup: "),
    ({"auto_augment": "rand-x9"}, "timm does not take this augmentation .*'rand-x9'"),
    ({"resolutions": "32,64"}, "--resolutions 32,64: each must be below"),
    ({"resolutions": "small"}, "--resolutions"),
    ({"importance": "size"}, "--importance 'size' is none of activation"),
    ({"supernet": "mobilenet-fmnist"}, "--image-size is for supernets of timm models"),
    ({"supernet": "mobilenet-fmnist", "image_size": None, "epochs": 0}, "--epochs 0: only"),
    ({"teacher_weights": Path("w.pth")}, "--teacher-weights are of no --teacher"),
    ({"layer_decay": 1.5}, "--layer-decay: "), ({"workers": -1}, "--workers: "),
    ({"optimizer": "adam"}, "optimizer 'adam' is none of sgd, adamw"),
    ({"precision": "fp8"}, "precision 'fp8' is none of"),
    ({"supernet": "timm:test_resnett"}, "did you mean test_resnet"),
    ({"supernet": "timm:vgg11"}, "has nothing elastic that is understood; looked for"),
    ({"supernet": "timm:test_vit", "image_size": 50}, "does not take images of 50×50"),
    ({"data": Path("nowhere")}, "data folder nowhere does not exist"),
    ({"dataset": "torch/cifar11"}, "torchvision has no data set 'cifar11'"),
    ({"weights": Path("nowhere.pth")}, r"nowhere\.pth does not exist"),
])
def test_what_makes_no_sense_leaves_no_folder(timm_request: Request, tmp_path: Path,
                                              options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        train(timm_request(tmp_path / "net", **options))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_batches_larger_than_the_data(timm_request: Request, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="144 images are fewer than one batch of 200"):
        train(timm_request(tmp_path / "net", batch_size=200))


def test_too_few_images_to_test_on(timm_request: Request, image_folder: Path,
                                   tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(50):
            (tmp_path / "data" / name / f"{number}.png").symlink_to(
                image_folder / name / f"{number:03d}.png")
    with pytest.raises(DataError, match="leave 15 to test on, and an exported network is checked"):
        train(timm_request(tmp_path / "net", data=tmp_path / "data"))


def test_a_teacher_of_other_classes(timm_request: Request, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=9).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match="with 9 classes, and 3 are wanted"):
        train(timm_request(tmp_path / "net", teacher="timm:test_resnet",
                           teacher_weights=tmp_path / "w.pth"))


def test_two_trainings_in_one_folder(timm_request: Request, tmp_path: Path) -> None:
    with locked(tmp_path, "training"), pytest.raises(InputError, match="another training is at"):
        train(timm_request(tmp_path))


@pytest.mark.parametrize("command", ["search", "profile run", "rank"])
def test_a_model_that_is_no_supernet_yet(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([*command.split(), "--supernet", "timm:test_resnet"]) == 2
    assert "nas train --supernet timm:test_resnet --data DIR" in capsys.readouterr().err


# The whole story

def story(folder: Path, base: Path, capsys: pytest.CaptureFixture[str], *, budget: int
          ) -> dict[str, Any]:
    """Searches, exports another network of the front or the same again, verifies, ranks."""
    def command(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    run = base / "run"
    found = command("search", "--supernet", str(folder), "--budget", str(budget), "--out", str(run))
    assert found["best"]["onnx_max_abs_diff"] < 1e-4
    assert command("verify", str(run / "best"))["ok"]
    last = found["pareto"][-1]["digest"]
    command("export", str(run), "--digest", last, "--out", str(base / "other"))
    assert command("verify", str(base / "other"))["ok"]
    ranked = command("rank", "--supernet", str(folder), "--proxy", "synflow", "--n", "4",
                     "--batch", "8", "--out", str(base / "rank"))
    assert ranked["networks"] == 4
    return dict(found)


@pytest.mark.slow
def test_a_trained_folder_is_searched_exported_and_verified(
        timm_request: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train(timm_request(tmp_path / "net", supernet="timm:test_efficientnet", epochs=1))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    quick_profile(folder, tmp_path / "cache")
    found = story(folder, tmp_path, capsys, budget=4)
    assert found["space_size"] == load_design(str(folder)).space.size
    assert found["counts"]["failed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit"])
def test_the_whole_story_on_the_command_line(image_folder: Path, tmp_path: Path, name: str,
                                             capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))  # empty: this machine is measured
    folder = tmp_path / "net"
    assert main(["train", "--supernet", f"timm:{name}", "--data", str(image_folder), "--out",
                 str(folder), "--image-size", "48", "--epochs", "6", "--batch-size", "16"]) == 0
    said = capsys.readouterr().err
    assert "validation: error after epoch 6: smallest " in said
    found = story(folder, tmp_path, capsys, budget=12)
    assert found["best"]["test"]["error"] < 50  # of three classes; a guess has 67
    assert main(["finetune", str(tmp_path / "run"), "--epochs", "1", "--batch-size", "16"]) == 0
    assert main(["verify", str(tmp_path / "run" / "best")]) == 0
    assert (tmp_path / "run" / "best-before" / "model.onnx").is_file()
    measured = found["best"]["measured_latency_ms"]
    assert measured == pytest.approx(found["best"]["metrics"]["latency_ms"], rel=0.5)
