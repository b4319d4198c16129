"""`train` on a folder of audio files: both stages, the folder, resume, and what is refused."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hubert_nets import make_supernet, uniform_arch
from hubert_trainings import clips, tiny_config
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from cli.main import main
from nas.core.errors import DataError, InputError, RunInterrupted
from nas.pipeline.compose import load_supernet
from nas.pipeline.design import load_design
from nas.pipeline.events import Event
from nas.pipeline.train import TrainRequest, make_request, train
from supernets.card import read_card
from supernets.hubert import presets
from supernets.hubert.checkpoints import save_checkpoint
from supernets.hubert.folder import save_folder

Request = Callable[..., TrainRequest]

COUNT = 46  # clips
WIDTH = 12  # of the teacher
SAMPLES = 2400  # of a window


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    """Makes hubert-tiny an eighth as wide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "TINY", tiny_config())
        yield


@pytest.fixture(scope="module")
def wavs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of half a minute in 46 clips."""
    folder = tmp_path_factory.mktemp("data") / "wavs"
    folder.mkdir()
    for number, wave in enumerate(clips(COUNT)):
        soundfile.write(folder / f"{number}.wav", wave, 16_000, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT of random weights."""
    folder = tmp_path_factory.mktemp("teachers") / "hubert"
    net = make_supernet(tiny_config())
    save_folder(net.extract(uniform_arch(net, embed=WIDTH, heads=3, ratio=2.0, depth=4)), folder)
    return folder


@pytest.fixture(scope="module")
def request_for(wavs: Path, teacher: Path) -> Request:
    def make(out: Path, **options: Any) -> TrainRequest:
        return make_request({"supernet": "hubert-tiny", "data": wavs, "out": out,
                             "teacher": str(teacher), "teacher_layers": 2, "first_epochs": 2,
                             "epochs": 3, "batch_seconds": 3.0, "seconds": 0.15,
                             "learning_rate": 0.01, "learn": "all", **options})

    return make


@pytest.fixture(scope="module")
def trained(request_for: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training; not to be changed."""
    events: list[Event] = []
    out = train(request_for(tmp_path_factory.mktemp("out") / "net"), watch=events.append)
    (out.parent / "events.json").write_text(json.dumps(
        [[event.stage, event.done, event.total, event.note] for event in events]))
    return out


def events_of(out: Path) -> list[Event]:
    return [Event(*values) for values in json.loads((out.parent / "events.json").read_text())]


# What it makes

def test_the_folder_is_a_supernet_that_can_be_searched(trained: Path) -> None:
    supernet = load_supernet(str(trained))
    assert supernet.space.id == load_design(str(trained)).space.id == tiny_config().name
    task = supernet.task
    splits = {name: sum(len(waves) for waves, _ in task.batches(name))
              for name in ("train_calib", "search", "test")}
    assert splits["search"] == splits["test"] >= 16
    for size in (True, False):
        arch = supernet.space.extreme(largest=size)
        network = supernet.recalibrated(arch, task.batches("train_calib"))
        assert task.metrics(network, task.batches("search"))["error"] < 98.0
    waves, targets = next(iter(task.batches("search")))
    assert waves.shape[1] == SAMPLES
    assert targets.shape[1:] == (tiny_config().frames(SAMPLES), WIDTH)


def test_progress_of_files_teacher_and_both_stages(trained: Path) -> None:
    events = events_of(trained)
    for stage, total in (("clips", COUNT), ("teacher", None), ("windows", None), ("stage 1", None),
                         ("stage 2", None)):
        found = [event for event in events if event.stage == stage]
        assert found[-1].done == found[-1].total
        assert total in (None, found[-1].total)
    order = list(dict.fromkeys(event.stage for event in events))
    assert order == ["clips", "windows", "teacher", "stage 1", "validation", "stage 2"]
    notes = [event.note for event in events if event.note]
    assert f"all {COUNT} files can be used" in notes
    assert any("minutes of " in note and "held out are " in note for note in notes)


def test_losses_of_three_networks_are_told_after_each_stage(trained: Path) -> None:
    told = [event.note for event in events_of(trained) if event.stage == "validation"]
    errors = [[float(part.split()[-2]) for part in line.split(": ")[1].split(", ")]
              for line in told]
    assert len(errors) == 2
    assert [line.split(" stage ")[1][0] for line in told] == ["1", "2"]
    assert all(after < min(98.0, before) for before, after in zip(*errors, strict=True))


def test_where_it_comes_from_is_written_without_paths(trained: Path, wavs: Path,
                                                      teacher: Path) -> None:
    found = read_card(trained, families=["hubert"]).provenance
    assert found["arguments"]["--first-epochs"] == 2
    assert found["arguments"]["--rule"] == "single-path"
    assert "--crop-scale" not in found["arguments"]
    assert found["teacher"].startswith("hubert last=2")
    assert found["speech"]["clips"] < COUNT
    text = (trained / "supernet.json").read_text()
    assert str(wavs) not in text
    assert str(teacher.parent) not in text


def test_held_out_clips_are_not_trained_on(trained: Path, wavs: Path) -> None:
    with np.load(trained / "speech.npz") as arrays:
        windows = {split: arrays[f"{split}_waves"] for split in ("train_calib", "search", "test")}
    held = {split: set() for split in windows}
    for file in sorted(wavs.iterdir()):
        wave, _ = soundfile.read(file, dtype="float32")
        start = np.rint(wave[:20] * 32767).astype(np.int16)
        for split, rows in windows.items():
            flat = rows.reshape(-1)
            for place in np.flatnonzero(flat[:-20] == start[0]):
                if np.array_equal(flat[place:place + 20], start):
                    held[split].add(file.name)
    assert all(held.values())
    sets = list(held.values())
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])
    speech = read_card(trained, families=["hubert"]).provenance["speech"]
    assert speech["clips"] == COUNT - len(set().union(*sets))


def test_hubert_is_another_name_of_hubert_tiny(request_for: Request, tmp_path: Path) -> None:
    out = train(request_for(tmp_path / "net", supernet="hubert", first_epochs=0, epochs=1))
    assert load_design(str(out)).space.id == load_design("hubert-tiny").space.id
    assert load_design("hubert").space.id == load_design("hubert-tiny").space.id
    assert not (out / "stage1.pt").exists()


# Going on

@pytest.mark.parametrize(("stage", "done"), [("teacher", 20), ("stage 1", 5), ("stage 2", 2)])
def test_stopped_and_resumed_equals_uninterrupted(request_for: Request, trained: Path,
                                                  tmp_path: Path, stage: str, done: int) -> None:
    def stop(event: Event) -> None:
        if (event.stage, event.done) == (stage, done):
            raise KeyboardInterrupt

    out = tmp_path / "net"
    with pytest.raises(RunInterrupted, match="the same command goes on"):
        train(request_for(out, checkpoint_s=0.0), watch=stop)
    events: list[Event] = []
    resumed = train(request_for(out), watch=events.append)
    whole, found = (load_file(folder / "weights.safetensors") for folder in (trained, resumed))
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert (trained / "speech.npz").read_bytes() == (resumed / "speech.npz").read_bytes()
    if stage.startswith("stage"):
        assert next(event for event in events if event.stage == stage).done == done


@pytest.mark.parametrize(("options", "said"), [
    ({"first_epochs": 1}, "--first-epochs is 2 there, 1 here"),
    ({"epochs": 4}, "--epochs is 3 there, 4 here"),
    ({"learn": "masked"}, "--learn is 'all' there, 'masked' here"),
    ({"mask_prob": 0.5}, "--mask-prob is None there, 0.5 here"),
    ({"instance_norm": False}, "--instance-norm is True there, False here"),
    ({"teacher_layers": 1}, "--teacher-layers is 2 there, 1 here"),
    ({"batch_seconds": 5.0}, "--batch-seconds is 3.0 there, 5.0 here"),
    ({"seconds": 0.25}, "--seconds is 0.15 there, 0.25 here"),
    ({"rule": "sandwich"}, "--rule is 'single-path' there, 'sandwich' here"),
    ({"seed": 1}, "--seed is 0 there, 1 here")])
def test_other_options_are_noticed(request_for: Request, trained: Path, options: dict[str, Any],
                                   said: str) -> None:
    with pytest.raises(DataError, match=f"of another training \\({said}\\); give that again"):
        train(request_for(trained, **options))


def test_another_teacher_is_noticed_and_a_moved_one_is_not(
        request_for: Request, trained: Path, teacher: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "net"))
    moved = Path(shutil.copytree(teacher, tmp_path / teacher.name))
    train(request_for(out, teacher=str(moved)))
    tensors = load_file(moved / "model.safetensors")
    save_file({**tensors, "masked_spec_embed": tensors["masked_spec_embed"] + 1},
              moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"--teacher is 'hubert \(sha256 "):
        train(request_for(out, teacher=str(moved)))


def test_a_finished_training_says_so_and_stays(request_for: Request, trained: Path) -> None:
    before = {file: (trained / file).read_bytes()
              for file in ("supernet.json", "weights.safetensors", "speech.npz")}
    events: list[Event] = []
    train(request_for(trained), watch=events.append)
    assert "was trained already" in events[-1].note
    assert not any(event.stage.startswith("stage") for event in events)
    assert all((trained / file).read_bytes() == content for file, content in before.items())


# Teachers, and weights to start from

def whisper_file(path: Path) -> Path:
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
             "encoder_ffn_dim": 24, "num_mel_bins": 80}
    with torch.random.fork_rng(devices=[]):
        state = WhisperEncoder(WhisperConfig(**sizes, max_source_positions=1500)).state_dict()
    save_file(state, path, metadata={"config": " ".join(f"{name}={size}"
                                                        for name, size in sizes.items())})
    return path


def test_whisper_teaches_masked_frames_by_a_sandwich(
        wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--supernet", "hubert-tiny", "--data", str(wavs), "--out",
               str(tmp_path / "net"), "--teacher", str(whisper_file(tmp_path / "w.safetensors")),
               "--first-epochs", "1", "--epochs", "1", "--rule", "sandwich", "--seconds", "0.15",
               "--no-instance-norm", "--mask-prob", "0.5"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert f"trained: {tmp_path / 'net'}\nsearch it: nas search --supernet" in said.out
    assert f"clips: all {COUNT} files can be used" in said.err
    assert "validation: distillation loss after stage 2" in said.err
    arguments = read_card(tmp_path / "net", families=["hubert"]).provenance["arguments"]
    assert (arguments["--learn"], arguments["--instance-norm"]) == ("masked", False)


def test_weights_of_a_checkpoint_are_what_stage_2_starts_from(
        request_for: Request, tmp_path: Path) -> None:
    net = make_supernet(tiny_config(), target_dim=WIDTH)
    save_checkpoint(net, tmp_path / "start.pt", "lighthubert")
    started = train(request_for(tmp_path / "net", weights=tmp_path / "start.pt", first_epochs=0,
                                epochs=1, learning_rate=1e-9))
    found = load_file(started / "weights.safetensors")
    assert all(torch.allclose(found[name].float(), tensor, atol=1e-3)
               for name, tensor in net.state_dict().items() if tensor.dim() == 1)
    other = make_supernet(tiny_config(), target_dim=WIDTH + 1)
    save_checkpoint(other, tmp_path / "other.pt", "lighthubert")
    with pytest.raises(InputError, match=r"other\.pt predict 13 features, and the teacher has 12"):
        train(request_for(tmp_path / "no", weights=tmp_path / "other.pt"))


def test_a_hubert_with_group_norm_teaches_and_is_no_start(
        request_for: Request, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        model = HubertModel(HubertConfig(
            hidden_size=16, num_hidden_layers=2, intermediate_size=16, num_attention_heads=2,
            conv_dim=(8,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2))
    model.save_pretrained(tmp_path / "hubert")
    out = train(request_for(tmp_path / "net", teacher=str(tmp_path / "hubert"), first_epochs=1,
                            epochs=0))
    assert (out / "stage1.pt").exists()
    assert not (out / "stage2.pt").exists()
    with pytest.raises(DataError, match="group norm in its first convolution"):
        train(request_for(tmp_path / "no", weights=tmp_path / "hubert"))


# What is refused

def fails(capsys: pytest.CaptureFixture[str], out: Path, *options: str) -> str:
    assert main(["train", "--out", str(out), *options]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("nas: ")]
    assert len(lines) == 1, captured.err
    assert not out.exists()
    return lines[0]


@pytest.mark.parametrize(("options", "said"), [
    ("--supernet hubert-tiny", "learns what a teacher says of speech; give one: --teacher FILE"),
    ("--supernet hubert-tiny --teacher t --mixup 0.2", "--mixup is for supernets of images, not "
                                                       "for hubert-tiny"),
    ("--supernet hubert-base --teacher t --batch-size 8", "--batch-size is for supernets of im"),
    ("--supernet hubert-tiny --teacher t --tensorboard", "--tensorboard is for supernets of im"),
    ("--learn all", "--learn is for supernets of speech (--supernet hubert-tiny), not for mobilen"),
    ("--supernet timm:test_vit --seconds 2", "--seconds is for supernets of speech"),
    ("--supernet hubert-tiny --teacher t --learn some", "--learn: it is none of masked, all"),
    ("--supernet hubert-tiny --teacher t --mask-prob 0", "--mask-prob 0: only masked frames are"),
    ("--supernet hubert-tiny --teacher t --epochs 0 --first-epochs 0", "neither stage trains"),
    ("--supernet hubert-tiny --teacher t --rule pareto", "give it with --front RUN_DIR"),
    ("--supernet hubert-tiny --teacher nowhere", "--teacher nowhere does not exist"),
    ("--supernet hubert-tiny --teacher {wavs}", "it has no config.json"),
    ("--supernet hubert-tiny --teacher {teacher}", "has 4 layers, of which the last 8"),
    ("--supernet hubert-tiny --teacher {teacher} --teacher-layers 2 --weights no",
     "--weights no does not exist"),
    ("--supernet hubert-tiny --teacher {teacher} --teacher-layers 2 --seconds 1",
     "s of speech are too little: of 180.0 s, 20% are enough windows of 1 s"),
])
def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str], wavs: Path, teacher: Path,
                                    tmp_path: Path, options: str, said: str) -> None:
    given = options.format(wavs=wavs, teacher=teacher).split()
    assert said in fails(capsys, tmp_path / "net", "--data", str(wavs), *given)


def test_a_teacher_of_another_frame_rate(capsys: pytest.CaptureFixture[str], wavs: Path,
                                         tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        model = HubertModel(HubertConfig(
            hidden_size=16, num_hidden_layers=2, intermediate_size=16, num_attention_heads=2,
            conv_dim=(8,) * 6, conv_kernel=(10, 3, 3, 3, 3, 2), conv_stride=(5, 2, 2, 2, 2, 2),
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2))
    model.save_pretrained(tmp_path / "hubert")
    line = fails(capsys, tmp_path / "net", "--data", str(wavs), "--supernet", "hubert-tiny",
                 "--teacher", str(tmp_path / "hubert"), "--teacher-layers", "1")
    assert "the teacher has 100 frames a second" in line


def test_files_that_cannot_be_used(capsys: pytest.CaptureFixture[str], wavs: Path, teacher: Path,
                                   tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "wavs"), "--supernet", "hubert-tiny", "--teacher",
               str(teacher), "--teacher-layers", "2", "--seconds", "0.15")
    shutil.copytree(wavs, tmp_path / "wavs")
    soundfile.write(tmp_path / "wavs" / "other.wav", clips(1)[0], 8_000)
    line = fails(capsys, tmp_path / "net", *options)
    assert f"1 of {COUNT + 1} files of" in line
    assert "has a sample rate of 8000 Hz" in line
    for number in range(60):  # then it is less than a hundredth
        shutil.copy(wavs / "0.wav", tmp_path / "wavs" / f"copy{number}.wav")
    assert main(["train", "--out", str(tmp_path / "net"), *options, "--first-epochs", "0",
                 "--epochs", "1"]) == 0
    said = capsys.readouterr().err
    assert f"clips: 1 of {COUNT + 61} files cannot be used and are left out" in said
    assert "other.wav has a sample rate of 8000 Hz" in said
    assert main(["train", "--out", str(tmp_path / "net"), *options, "--first-epochs", "0",
                 "--epochs", "1", "--resample"]) == 2
    assert "--resample is False there, True here" in capsys.readouterr().err
