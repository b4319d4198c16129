"""The speech supernet in the package: small, licensed, and better than what has learnt nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import supernets.shipped
from nas.pipeline.compose import load_supernet
from supernets.hubert.presets import TINY
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.tasks.distillation import FeatureDistillation

FOLDER = Path(supernets.shipped.__file__).parent / "hubert_digits"


@pytest.fixture(scope="module")
def shipped() -> WaveSupernet:
    supernet = load_supernet("hubert-digits")
    assert isinstance(supernet, WaveSupernet)
    return supernet


def test_it_is_hubert_tiny(shipped: WaveSupernet) -> None:
    assert shipped.net.config == TINY
    assert shipped.space.size == 1_793_340


def test_files_are_small_and_come_with_licence_and_provenance() -> None:
    assert (FOLDER / "weights.safetensors").stat().st_size <= 6_000_000
    assert (FOLDER / "speech.npz").stat().st_size <= 8_000_000
    licence = (FOLDER / "LICENSE").read_text()
    assert "Carlo Flora" in licence
    assert "Maxim Topal" in licence
    provenance = json.loads((FOLDER / "supernet.json").read_text())["provenance"]
    assert "CC-BY-3.0" in provenance["speech"]
    assert "MIT" in provenance["teacher"]


def test_windows_are_of_one_second_and_in_one_split_each(shipped: WaveSupernet) -> None:
    task = shipped.task
    assert isinstance(task, FeatureDistillation)
    rows = [row.tobytes() for windows in task.splits.values() for row in windows.waves_NS]
    assert {windows.waves_NS.shape[1] for windows in task.splits.values()} == {16_000}
    assert len(rows) == len(set(rows)) == 104


def test_every_size_has_learnt(shipped: WaveSupernet) -> None:
    errors = []
    rng = np.random.default_rng(0)
    space = shipped.space
    archs = [space.extreme(largest=True), space.extreme(largest=False),
             *(space.sample(rng) for _ in range(4))]
    for arch in archs:
        module = shipped.recalibrated(arch, [])
        errors.append(shipped.task.metrics(module, shipped.task.batches("test"))["error"])
    assert errors[0] == min(errors)
    assert errors[0] <= 67.0
    assert max(errors) <= 78.0


def test_it_needs_no_package_of_the_speech_extra() -> None:
    code = ("import sys\n"
            "for name in ('transformers', 'soundfile', 'soxr'): sys.modules[name] = None\n"
            "from nas.pipeline.compose import load_supernet\n"
            "net = load_supernet('hubert-digits')\n"
            "inputs, _ = next(iter(net.task.batches('search')))\n"
            "module = net.recalibrated(net.space.extreme(largest=True), [])\n"
            "print(module(inputs[:2]).shape)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 49, 192])" in done.stdout


def test_the_supernet_is_the_networks_that_come_out_of_it(shipped: WaveSupernet) -> None:
    arch = shipped.space.sample(np.random.default_rng(1))
    inputs, _ = next(iter(shipped.task.batches("test")))
    with torch.no_grad():
        assert (shipped(inputs, arch) - shipped.extract(arch)(inputs)).abs().max() <= 1e-5
