"""Bundles of speech encoders: any length of clip, hidden states, a script that runs one."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from speech_supernets import HOP, SAMPLES, SHORTEST, write_supernet
from torch import nn

from nas.core.costs import UNITS, ClosedFormCosts
from nas.core.errors import ExportError, InputError
from nas.core.files import sha256
from nas.core.protocols import signature_of
from nas.export.bundle import write_bundle
from nas.export.example import add_wav_example
from nas.export.features import add_features
from nas.export.manifest import FileEntry, read_manifest
from nas.export.opened import open_bundle
from nas.export.parity import at_other_sizes, open_session, run, run_all
from nas.export.verify import verify_bundle
from supernets.folder import load_folder
from supernets.tasks.waves import normalised

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A bundle with all that one of speech can have; not to be changed."""
    root = tmp_path_factory.mktemp("speech")
    net = load_folder(write_supernet(root / "net"))
    arch = net.space.decode(net.space.sample_codes(1, np.random.default_rng(3)))[0]
    module = net.extract(arch)
    model, codes = ClosedFormCosts(net.vocabulary, net.block_ids), net.space.encode([arch])
    costs = {name: int(model.predict(name, codes).value[0]) for name in UNITS}
    folder = root / "best"
    manifest = write_bundle(folder, arch=arch, module=module, task=net.task, metrics={},
                            costs=costs, provenance={})
    add_features(open_bundle(folder), module, task=net.task)
    add_wav_example(open_bundle(folder), signature_of(net.task))
    return SimpleNamespace(net=net, arch=arch, module=module, folder=folder, manifest=manifest,
                           costs=costs)


@pytest.fixture
def bundle(made: SimpleNamespace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "best"))


def speech(samples: int, *, seed: int = 0) -> Wave:
    """Returns a tone whose loudness comes and goes, on an offset."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * 3 * time) ** 2
    return (0.1 + 0.4 * tone + 0.02 * rng.standard_normal(samples)).astype(np.float32)


def failed(folder: Path) -> list[str]:
    return [check.name for check in verify_bundle(folder).checks if not check.ok]


def reseal(folder: Path) -> None:
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    files = {name: FileEntry(sha256=sha256(data), size=len(data)) for name in manifest.files
             for data in [(folder / name).read_bytes()]}
    (folder / "manifest.json").write_text(manifest.model_copy(update={"files": files}).to_text())


def test_a_bundle_of_speech_passes_its_checks(made: SimpleNamespace) -> None:
    names = {check.name for check in verify_bundle(made.folder).checks}
    assert failed(made.folder) == []
    assert {"model.onnx answers, other sizes", "infer_wav.py compiles",
            "features.onnx answers, batch 1"} <= names


@pytest.mark.parametrize("samples", [SHORTEST, 719, 8_000, 80_000])
@pytest.mark.parametrize("clips", [1, 3])
def test_the_file_takes_clips_of_any_length(made: SimpleNamespace, samples: int,
                                            clips: int) -> None:
    wave_BS = np.stack([normalised(speech(samples, seed=seed)) for seed in range(clips)])
    found = run(open_session((made.folder / "model.onnx").read_bytes()), wave_BS, batch=clips)
    with torch.inference_mode():
        wanted = made.module(torch.from_numpy(wave_BS)).numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4


def test_other_lengths_are_compared_when_a_bundle_is_written(made: SimpleNamespace) -> None:
    assert made.manifest.parity.sizes == {"samples": (SAMPLES, SAMPLES // 2, 2 * SAMPLES)}
    reference = load_file(made.folder / "reference.safetensors")
    assert reference["inputs_half"].shape == (4, SAMPLES // 2)
    assert reference["inputs_twice"].shape == (4, 2 * SAMPLES)
    assert len(reference["logits_twice"][0]) > 2 * len(reference["logits_half"][0])


class LengthBound(nn.Module):
    """Right at the window's length, and at twice of it alone: torch and ONNX differ in sizes."""

    def forward(self, wave_BS: torch.Tensor) -> torch.Tensor:
        frames = wave_BS.unfold(1, 400, 320)
        scale = 1.0 if torch.onnx.is_in_onnx_export() or wave_BS.shape[1] == SAMPLES else 2.0
        return frames[..., :4] * scale


def test_a_file_that_is_wrong_at_another_length_is_not_exported(
        made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"differs from torch at batch 4 \(4×4000\)"):
        write_bundle(tmp_path / "best", arch=made.arch, module=LengthBound(), task=made.net.task,
                     metrics={}, costs={"params": 0, "macs": 0, "activation_bytes": 0},
                     provenance={})
    assert not (tmp_path / "best").exists()


def test_verify_compares_other_lengths(bundle: Path) -> None:
    path = bundle / "reference.safetensors"
    reference = load_file(path)
    reference["logits_twice"] = reference["logits_twice"] + np.float32(0.01)
    save_file(reference, path)
    reseal(bundle)
    assert failed(bundle) == ["model.onnx answers, other sizes"]


def test_no_input_is_cut_below_the_shortest() -> None:
    inputs = np.arange(10, dtype=np.float32)[None]
    found = at_other_sizes(inputs, free=1, shortest=7)
    assert {name: values.shape for name, values in found.items()} == {
        "half": (1, 7), "twice": (1, 20)}
    assert np.array_equal(found["twice"][:, 10:], inputs)
    assert at_other_sizes(inputs, free=0, shortest=1) == {}


def test_features_of_speech_are_all_hidden_states(made: SimpleNamespace) -> None:
    wave_BS = normalised(speech(6_000))[None]
    found = run_all(open_session((made.folder / "features.onnx").read_bytes()), wave_BS, batch=1)
    with torch.inference_mode():
        states = made.module.encoder(torch.from_numpy(wave_BS),
                                     output_hidden_states=True).hidden_states
    assert len(found) == len(states) == dict(made.arch.choices)["depth"] + 1
    for values, wanted in zip(found.values(), states, strict=True):
        assert np.abs(values - wanted.numpy()).max() <= 1e-4
    features = read_manifest((made.folder / "manifest.json").read_bytes()).features
    assert features is not None
    assert {(output.channels, output.reduction) for output in features.outputs} == {
        (dict(made.arch.choices)["embed"], HOP)}


# The script ----------------------------------------------------------------------------------


def infer(folder: Path, *arguments: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(folder / "infer_wav.py"), *map(str, arguments)],
                          capture_output=True, text=True, check=False, cwd=folder.parent)


def test_the_script_gives_the_hidden_states_of_a_clip(made: SimpleNamespace,
                                                      tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.wav", tmp_path / "states.npy"
    soundfile.write(clip, speech(12_345), 16_000, subtype="FLOAT")
    done = infer(made.folder, clip, out)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        wanted = made.module(torch.from_numpy(normalised(speech(12_345)))[None])[0].numpy()
    assert np.abs(np.load(out) - wanted).max() <= 1e-4
    assert f"{wanted.shape[0]} frames of {wanted.shape[1]} features" in done.stdout


@pytest.mark.parametrize(("wave", "rate", "message"), [
    (speech(8_000), 8_000, "8000 samples of 1 channel(s) at 8000 Hz"),
    (np.stack([speech(8_000)] * 2, 1), 16_000, "2 channel(s) at 16000 Hz"),
    (speech(SHORTEST - 1), 16_000, "takes at least 325 of 1 at 16000 Hz")])
def test_the_script_refuses_other_clips_in_one_line(
        made: SimpleNamespace, tmp_path: Path, wave: Wave, rate: int, message: str) -> None:
    soundfile.write(tmp_path / "clip.wav", wave, rate)
    done = infer(made.folder, tmp_path / "clip.wav")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_needs_three_packages(made: SimpleNamespace) -> None:
    text = (made.folder / "infer_wav.py").read_text()
    imported = {name for line in text.splitlines() if line.startswith("import ")
                for name in line.removeprefix("import ").replace("np, ", ", ").split(", ")}
    standard = {"json", "sys", "pathlib"}
    assert {name.split(" as ")[0] for name in imported} - standard == {
        "numpy", "onnxruntime", "soundfile"}
    example = read_manifest((made.folder / "manifest.json").read_bytes()).example
    assert example is not None
    assert set(example.needs) == {"numpy", "onnxruntime", "soundfile"}


def test_a_changed_script_fails(bundle: Path) -> None:
    path = bundle / "infer_wav.py"
    path.write_text(path.read_text() + "\n")
    assert failed(bundle) == ["infer_wav.py hash"]


def test_the_file_says_how_a_clip_is_prepared(made: SimpleNamespace) -> None:
    metadata = {prop.key: prop.value for prop in onnx.load(made.folder / "model.onnx"
                                                           ).metadata_props}
    said = json.loads(metadata["preprocessing"])
    assert (said["sample_rate"], said["channels"], said["min_samples"]) == (16_000, 1, SHORTEST)
    assert said["padding"].startswith("none")


def test_images_have_no_wav_example(written: SimpleNamespace, bundle: Path,
                                    network: SimpleNamespace) -> None:
    del bundle
    with pytest.raises(InputError, match="--example wav is for encoders of speech") as caught:
        add_wav_example(open_bundle(written.folder), signature_of(network.task))
    assert "\n" not in str(caught.value)


RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "speech" / "fsdd_recordings.tar.gz"


@pytest.mark.skipif(not RECORDINGS.is_file(), reason="needs the spoken digits in ../shared/data")
def test_real_speech_of_three_lengths(made: SimpleNamespace) -> None:
    """One digit of theo, a few of them, and all: resampled, one by one and as equal halves."""
    with tarfile.open(RECORDINGS) as archive:
        names = [name for name in archive.getnames() if name.endswith("_theo_0.wav")][:8]
        found = [soundfile.read(io.BytesIO(file.read()), dtype="float32")
                 for name in sorted(names) if (file := archive.extractfile(name)) is not None]
    spoken = [soxr.resample(wave, rate, 16_000) for wave, rate in found]
    session = open_session((made.folder / "model.onnx").read_bytes())
    for wave in (spoken[0], np.concatenate(spoken[:3]), np.concatenate(spoken)):
        half = len(wave) // 2
        for wave_BS in (normalised(wave)[None], np.stack([normalised(wave[:half]),
                                                          normalised(wave[half:2 * half])])):
            with torch.inference_mode():
                wanted = made.module(torch.from_numpy(wave_BS)).numpy()
            given = run(session, wave_BS, batch=len(wave_BS))
            assert given.shape == wanted.shape
            assert np.abs(given - wanted).max() <= 1e-4
