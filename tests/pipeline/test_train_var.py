"""`train` of a supernet that generates images: stages, the folder, resume, and what is refused."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from var_nets import SMALL, SMALL_VAE, small_net, small_vae

from cli.main import main
from nas.core.errors import DataError, RunInterrupted
from nas.pipeline.compose import load_supernet
from nas.pipeline.design import load_design
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, make_request, train
from nas.pipeline.train_usual import with_usual_values
from supernets.card import read_card
from supernets.tasks.idx import read_split
from supernets.var import presets
from supernets.var.checkpoints import load_vae, save_var
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.sampling import Sampling
from supernets.var.supernet import token_targets

Request = Callable[..., TrainRequest]

NAME = "var-d16"
CLASSES, SIDE = SMALL.classes, SMALL_VAE.image_size
IMAGES = {"train": 64, "t10k": 96}


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    """Makes a published size a tiny one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "D16", SMALL)
        patch.setitem(presets.PRESETS, NAME, SMALL)
        patch.setitem(presets.VAES, NAME, SMALL_VAE)
        yield


def pictures(labels: np.ndarray[Any, Any], height: int = SIDE, width: int = SIDE
             ) -> np.ndarray[Any, Any]:
    """Noise with a bright band that tells the class."""
    rng = np.random.default_rng(len(labels))
    images = rng.integers(0, 60, (len(labels), height, width), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[7 * label:7 * label + 7] += 150
    return images


def write_idx(folder: Path, *sides: int) -> Path:
    height, width = sides or (SIDE, SIDE)
    folder.mkdir(parents=True)
    for prefix, count in IMAGES.items():
        labels = np.arange(count, dtype=np.uint8) % CLASSES
        for name, axes, content in (("images-idx3", (count, height, width),
                                     pictures(labels, height, width)),
                                    ("labels-idx1", (count,), labels)):
            header = struct.pack(f">{1 + len(axes)}I", 0x800 + len(axes), *axes)
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + content.tobytes())
    return folder


@pytest.fixture(scope="module")
def idx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_idx(tmp_path_factory.mktemp("data") / "idx")


@pytest.fixture(scope="module")
def request_for(idx: Path) -> Request:
    def make(out: Path, **options: Any) -> TrainRequest:
        values = {"supernet": NAME, "data": idx, "out": out, "vae_epochs": 1,
                  "vae_learning_rate": 2e-3, "vae_batch_size": 16, "shallow_epochs": 0.5,
                  "joint_epochs": 0.5, "transition_epochs": 1, "subnet_epochs": 0,
                  "batch_size": 16, "learning_rate": 3e-3, **options}
        return make_request({name: value for name, value in values.items() if value is not None})

    return make


@pytest.fixture(scope="module")
def trained(request_for: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training; not to be changed."""
    events: list[Event] = []
    out = train(request_for(tmp_path_factory.mktemp("out") / "net"), watch=events.append)
    (out.parent / "events.json").write_text(json.dumps(
        [[event.stage, event.done, event.total, event.note] for event in events]))
    return out


@pytest.fixture(scope="module")
def events(trained: Path) -> list[Event]:
    return [Event(*values) for values in json.loads((trained.parent / "events.json").read_text())]


# What it makes

def test_the_folder_is_a_supernet_that_can_be_searched(trained: Path) -> None:
    supernet = load_supernet(str(trained))
    assert supernet.space.id == load_design(str(trained)).space.id == SMALL.name
    counts = {split: sum(len(targets) for _, targets in supernet.task.batches(split))
              for split in ("train_calib", "search", "test")}
    assert counts["search"] + counts["test"] == IMAGES["t10k"]
    assert counts["train_calib"] % CLASSES == 0
    for largest in (True, False):
        network = supernet.extract(supernet.space.extreme(largest=largest)).eval()
        assert supernet.task.metrics(network, supernet.task.batches("search"))["error"] < 98.0


def test_the_folder_makes_images(trained: Path) -> None:
    supernet = load_supernet(str(trained))
    assert isinstance(supernet, ImageSupernet)
    smallest = supernet.space.extreme(largest=False)
    made = generate(supernet.net, supernet.vae, torch.arange(CLASSES), smallest, seed=0,
                    sampling=Sampling(guidance=1.5, top_k=9, top_p=0.9))
    assert made.images.shape == (CLASSES, 1, SIDE, SIDE)
    assert len({image.numpy().tobytes() for image in made.images}) == CLASSES
    fid = supernet.task.with_measure("fid", samples=80)
    quality = fid.metrics(supernet.extract(smallest).eval(), fid.batches("search"))
    assert quality["error"] > 0


def test_stored_tokens_are_what_the_stored_vqvae_makes_of_held_out_images(
        trained: Path, idx: Path) -> None:
    vae = load_vae(trained / "vae.safetensors", SMALL_VAE)
    images, labels = read_split(idx, "t10k")
    x_BCHW = torch.from_numpy(images.copy())[:, None].float() / 127.5 - 1
    made = token_targets(vae.tokens(x_BCHW))
    wanted = {(int(label), *row) for label, row in zip(labels, made.tolist(), strict=True)}
    task = load_supernet(str(trained)).task
    stored = [tuple(row) for split in ("search", "test") for tokens, _ in task.batches(split)
              for row in tokens.tolist()]
    assert len(stored) == IMAGES["t10k"]
    assert sum(row in wanted for row in stored) >= 0.9 * len(stored)  # ties of single precision


def test_progress_of_every_stage(events: list[Event]) -> None:
    order = [stage for stage in dict.fromkeys(event.stage for event in events)
             if stage != "validation"]
    assert order == ["images", "classifier", "VQVAE", "tokens", "transformer"]
    for stage in order:
        last = [event for event in events if event.stage == stage][-1]
        assert last.done == last.total
    assert next(event.note for event in events if event.note).startswith(
        f"{IMAGES['train']} images of {CLASSES} classes to learn from, in grey")


def test_figures_after_three_stages(events: list[Event]) -> None:
    classifier, vqvae, depths = (event.note for event in events if event.stage == "validation")
    assert float(classifier.split()[-2]) < 20.0  # % of images with a bright band for each class
    assert 0 < float(vqvae.split(" error ")[1].split()[0]) < 1.0
    errors = [float(part.split()[-2]) for part in depths.split(": ")[1].split(", ")]
    assert len(errors) == 3
    assert max(errors) < 98.0


def test_where_it_comes_from_is_written_without_paths(trained: Path, idx: Path) -> None:
    found = read_card(trained, families=["var"]).provenance
    assert found["arguments"]["--joint-epochs"] == 0.5
    assert found["arguments"]["--subnet-p"] == 0.2
    assert found["arguments"]["--shallow-depth"] == 4
    assert not {"--epochs", "--rule", "--mixup", "--learn"} & set(found["arguments"])
    assert found["images"] == {"training": 64, "search": 48, "test": 48}
    assert str(idx) not in (trained / "supernet.json").read_text()


def test_other_classes_from_a_folder_of_files(request_for: Request, trained: Path,
                                              tmp_path: Path) -> None:
    for split, count in (("train", 32), ("val", 70)):
        labels = np.arange(count) % 2
        for number, (label, image) in enumerate(zip(labels, pictures(labels), strict=True)):
            file = tmp_path / "files" / split / "ab"[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    out = train(request_for(tmp_path / "net", data=tmp_path / "files", **WITH_VAE,
                            vae=trained / "vae.safetensors"))
    assert load_design(str(out)).space.id == f"{NAME}-2/1"
    assert not (out / "vqvae.pt").exists()


WITH_VAE: dict[str, Any] = {"vae_epochs": None, "vae_learning_rate": None, "vae_batch_size": None}
ONE_PHASE: dict[str, Any] = {"shallow_epochs": None, "joint_epochs": None, "subnet_epochs": None,
                             "transition_epochs": None, "epochs": 1, "fixed_p": 0.5}


def test_weights_of_another_training_are_where_it_starts(request_for: Request, trained: Path,
                                                         tmp_path: Path) -> None:
    start = {"weights": trained / "weights.safetensors", "vae": trained / "vae.safetensors"}
    out = train(request_for(tmp_path / "net", **WITH_VAE, **ONE_PHASE, **start, distill=True,
                            depth_draw="space", teaching=0.5, learning_rate=1e-9))
    before, after = (load_file(folder / "weights.safetensors") for folder in (trained, out))
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-3)
               for name in before)
    arguments = read_card(out, families=["var"]).provenance["arguments"]
    assert (arguments["--fixed-p"], arguments["--epochs"]) == (0.5, 1)
    assert arguments["--vae"].startswith("vae.safetensors (sha256 ")


@pytest.mark.parametrize(("options", "wanted"), [
    ({"supernet": "var-fmnist"}, {"learning_rate": 1.5e-3, "epochs": 6, "shallow_epochs": 2.0,
                                  "subnet_p": 0.3, "batch_size": 64, "label_smoothing": 0.0}),
    ({"supernet": "var-fmnist", "fixed_p": 0.1}, {"epochs": 6, "shallow_epochs": None}),
    ({"supernet": "var-fmnist", "distill": True}, {"epochs": 4, "shallow_epochs": 0.0}),
    ({"supernet": "var-d30", "batch_size": 128}, {"learning_rate": 5e-5, "epochs": 30,
                                                  "subnet_p": 0.2, "vae_learning_rate": 2e-4})])
def test_usual_values(options: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = with_usual_values(make_request({"data": "images", "out": "net", **options}))
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert (found.optimizer, found.weight_decay, found.clip_norm, found.ema_decay) == (
        "adamw", 0.05, 2.0, 0.999)


# Going on

def stopped(request: TrainRequest, at: Event) -> list[Event]:
    """Trains up to an event's stage and count, and returns what was told."""
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if (event.stage, event.done) == (at.stage, at.done):
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="the same command goes on"):
        train(request, watch=watch)
    return events


def test_stopped_in_each_stage_and_resumed_equals_uninterrupted(
        request_for: Request, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "net"
    stops = {"classifier": 2, "VQVAE": 3, "tokens": 32, "transformer": 5}
    before = ""
    for stage, done in stops.items():
        events = stopped(request_for(out, checkpoint_s=0.0), Event(stage, done, 0))
        if before:  # its state of its last step but one was written, that of an epoch always
            first = next(event.done for event in events if event.stage == before)
            assert first >= stops[before] - 1 > 0
        before = stage
    train(request_for(out))
    for file in ("weights", "vae", "features"):
        whole, found = (load_file(folder / f"{file}.safetensors") for folder in (trained, out))
        assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert (trained / "images.npz").read_bytes() == (out / "images.npz").read_bytes()


@pytest.mark.parametrize(("options", "said"), [
    ({"vae_epochs": 2}, "--vae-epochs is 1 there, 2 here"),
    ({"vae_perceptual": 0.5}, "--vae-perceptual is None there, 0.5 here"),
    ({"joint_epochs": 1.5}, "--joint-epochs is 0.5 there, 1.5 here"),
    ({"subnet_p": 0.5}, "--subnet-p is 0.2 there, 0.5 here"),
    ({"distill": True}, "--distill is False there, True here"),
    (ONE_PHASE, "--fixed-p is None there, 0.5 here"),
    ({"seed": 1}, "--seed is 0 there, 1 here")])
def test_other_options_are_noticed(request_for: Request, trained: Path, options: dict[str, Any],
                                   said: str) -> None:
    with pytest.raises(DataError, match=f"of another training \\({said}\\); give that again"):
        train(request_for(trained, **options))


def test_other_options_of_a_stage_are_noticed_in_it(request_for: Request, trained: Path,
                                                    tmp_path: Path) -> None:
    for stage in ("classifier", "vqvae", "tokens"):
        shutil.copy(trained / f"{stage}.pt", tmp_path)
    with pytest.raises(DataError, match=r"vqvae\.pt is of another training \(--vae-epochs is 1 t"):
        train(request_for(tmp_path, vae_epochs=2))
    (tmp_path / "vqvae.pt").unlink()
    with pytest.raises(DataError, match=r"tokens\.pt is of another training \(weights of the VQV"):
        train(request_for(tmp_path, vae_epochs=2))


def test_features_of_the_classifier_are_in_the_loss_of_the_vqvae(
        request_for: Request, trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "classifier.pt", tmp_path)
    events = stopped(request_for(tmp_path, vae_perceptual=0.5), Event("tokens", 32, 0))
    vqvae = [event for event in events if event.stage == "VQVAE"]
    assert len(vqvae) == 4
    with_features, without = (
        torch.load(folder / "vqvae.pt", weights_only=True) for folder in (tmp_path, trained))
    assert "perceptual=0.5" in with_features["identity"]["criterion"]
    assert "perceptual=0.0" in without["identity"]["criterion"]
    moved = [not torch.equal(tensor, without["supernet"][name])
             for name, tensor in with_features["supernet"].items() if "decoder" in name]
    assert any(moved)
    with pytest.raises(DataError, match=r"\(--vae-perceptual is 0\.5 there, None here\)"):
        train(request_for(tmp_path, vae_perceptual=0.0))


def test_a_finished_training_says_so_and_stays(request_for: Request, trained: Path) -> None:
    files = ("supernet.json", "weights.safetensors", "vae.safetensors", "images.npz")
    before = {file: (trained / file).read_bytes() for file in files}
    events: list[Event] = []
    train(request_for(trained), watch=events.append)
    assert "was trained already" in events[-1].note
    assert not {"VQVAE", "tokens", "transformer"} & {event.stage for event in events}
    assert all((trained / file).read_bytes() == content for file, content in before.items())


# What is refused

def fails(capsys: pytest.CaptureFixture[str], out: Path, *options: str) -> str:
    assert main(["train", "--out", str(out), *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nas: ")]
    assert len(lines) == 1
    assert not out.exists()
    return lines[0]


@pytest.mark.parametrize(("options", "said"), [
    ("--mixup 0.2", "--mixup is for other kinds of supernets, not for"),
    ("--learn all", "--learn is for supernets of speech"),
    ("--rule sandwich", "--rule is for other kinds of supernets, not for"),
    ("--label-smoothing 0.2", "--label-smoothing is for other kinds of supernets, not for"),
    ("--tensorboard", "--tensorboard is for other kinds"),
    ("--epochs 3", "--epochs is how long --fixed-p lasts; give that, too"),
    ("--fixed-p 0.1 --joint-epochs 3", "--fixed-p is one phase of --epochs, and --joint-epochs"),
    ("--vae v.pt --vae-epochs 3", "--vae is a VQVAE that is trained already, and --vae-epochs"),
    ("--vae v.pt --vae-perceptual 1", "trained already, and --vae-perceptual is for training one"),
    ("--vae-perceptual -1", "--vae-perceptual: Input should be greater than or equal to 0"),
    ("--weights w.pt", "know the codes of one VQVAE; give it, too: --vae FILE"),
    ("--depth-draw some", "--depth-draw: it is none of variant, space"),
    ("--teaching 0.5", "let it teach: --distill"),
    ("--joint-epochs 0.25", "--transition-epochs 15 + --subnet-epochs 10 are 25.25 epochs"),
    ("--shallow-depth 4", "is of a phase that lasts 0 epochs; give --shallow-epochs, too"),
    ("--shallow-epochs 1 --shallow-depth 3", "depths (3,) of a phase are not all among (2, 4, 8)"),
    ("--fixed-p 1.5", "--fixed-p: Input should be less than or equal to 1"),
    ("--vae nowhere.pt", "nowhere.pt does not exist"),
    ("--batch-size 100", "64 images are fewer than one batch of 100"),
])
def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str], idx: Path, tmp_path: Path,
                                    options: str, said: str) -> None:
    assert said in fails(capsys, tmp_path / "net", "--data", str(idx), "--supernet", NAME,
                         *options.split())


@pytest.mark.parametrize("supernet", ["mobilenet-fmnist", "timm:test_vit", "hubert-tiny"])
def test_options_of_generation_are_refused_by_others(
        capsys: pytest.CaptureFixture[str], idx: Path, tmp_path: Path, supernet: str) -> None:
    line = fails(capsys, tmp_path / "net", "--data", str(idx), "--supernet", supernet,
                 "--subnet-p", "0.2")
    assert f"--subnet-p is for supernets that generate images (--supernet var-fmnist), not for " \
           f"{supernet}" in line


def test_checkpoints_that_do_not_fit(capsys: pytest.CaptureFixture[str], idx: Path, trained: Path,
                                     tmp_path: Path) -> None:
    save_var(small_net(replace(SMALL, depth=10)), tmp_path / "deep.pt")
    own = str(trained / "vae.safetensors")
    always = ("--data", str(idx), "--supernet", NAME)
    line = fails(capsys, tmp_path / "net", *always, "--vae", own, "--weights",
                 str(tmp_path / "deep.pt"))
    assert f"deep.pt has 10 layers and {SMALL.name} 9" in line
    net, other = small_net(), small_vae(seed=3)
    torch.save({"trainer": {"var_wo_ddp": net.state_dict(), "vae_local": other.state_dict()}},
               tmp_path / "both.pt")
    line = fails(capsys, tmp_path / "net", *always, "--vae", own, "--weights",
                 str(tmp_path / "both.pt"))
    assert "both.pt are of a trainer whose VQVAE has other codes than that of --vae" in line
    torch.save(small_vae(replace(SMALL_VAE, vocabulary=20)).state_dict(), tmp_path / "vae.pt")
    line = fails(capsys, tmp_path / "net", *always, "--vae", str(tmp_path / "vae.pt"))
    assert f"does not hold the weights of {SMALL_VAE.name}" in line


@pytest.mark.parametrize(("sides", "said"), [
    ((24, 20), "has 24×20 pixels, which is no square, and small-vae/1 makes images of 24×24"),
    ((26, 26), "has 26×26 pixels, which its factor of 6 does not divide, and small-vae/1"),
    ((30, 30), "has 30×30 pixels, and small-vae/1 makes images of 24×24; resize all to that")])
def test_images_of_other_sizes(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                               sides: tuple[int, int], said: str) -> None:
    data = write_idx(tmp_path / "idx", *sides)
    assert said in fails(capsys, tmp_path / "net", "--data", str(data), "--supernet", NAME)


def test_too_few_held_out_images(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGES, "t10k", 60)
    data = write_idx(tmp_path / "idx")
    line = fails(capsys, tmp_path / "net", "--data", str(data), "--supernet", NAME)
    assert "leave 60 that are not learnt from, and statistics of 64 features need more" in line


def test_grey_images_are_none_of_colour(capsys: pytest.CaptureFixture[str], idx: Path,
                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.VAES, NAME, replace(SMALL_VAE, image_channels=3))
    line = fails(capsys, tmp_path / "net", "--data", str(idx), "--supernet", NAME)
    assert "images have 1 channels, and small-vae/1 takes 3" in line
