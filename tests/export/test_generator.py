"""Bundles that make images: each scale as a file, run with ONNX Runtime and numpy alone."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from var_generators import stand_in
from var_nets import SMALL, SMALL_VAE, small_net, small_vae

from nas.core.arch import Arch, make_arch
from nas.core.errors import ExportError, InputError
from nas.core.generation import Sample
from nas.export.drawing import drawn, filtered, guided
from nas.export.generator import Generator
from nas.export.generator_check import draw_again, read_sample
from nas.export.generator_files import write_generator
from nas.export.opened import open_bundle
from nas.export.verify import verify_bundle
from supernets.var import sampling as torch_sampling
from supernets.var.generate import generate
from supernets.var.generator_parts import generator_parts
from supernets.var.memory import kv_bytes
from supernets.var.sampling import Sampling
from supernets.var.space import build_space, full_arch, plan, variant_arch

# Three layers, two of them behind the first scale: little to trace.
CONFIG = replace(SMALL, name="tiny/1", patch_nums=(1, 2), depth=3, depths=(2,), bridges=(1, 2),
                 shared_adaln=True)
NET, VAE = small_net(CONFIG), small_vae(replace(SMALL_VAE, patch_nums=(1, 2), image_size=12))
ARCH = variant_arch(CONFIG, bridge=1, depth=2)
SAMPLINGS = [{"guidance": 2.0, "top_k": 9, "top_p": 0.9}, {"guidance": 0.0, "top_k": 0},
             {"guidance": 1.5, "top_p": 0.5}]


@pytest.fixture(scope="module")
def made(written, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A bundle with a generator in it; not to be changed."""
    folder = shutil.copytree(written.folder, tmp_path_factory.mktemp("var") / "best")
    parts = generator_parts(NET, VAE, ARCH)
    return SimpleNamespace(folder=folder, parts=parts,
                           manifest=write_generator(open_bundle(folder), parts))


@pytest.mark.parametrize("asked", SAMPLINGS)
def test_it_draws_the_tokens_that_torch_draws(made: SimpleNamespace, asked: dict[str, Any]
                                              ) -> None:
    labels = np.array([0, 1, 2, 1, 0])
    wanted = generate(NET, VAE, torch.from_numpy(labels), ARCH, sampling=Sampling(**asked),
                      seed=5, first=3)
    given = Generator(made.folder).generate(labels, seed=5, first=3, **asked)
    for ours, theirs in zip(wanted.tokens, given.tokens, strict=True):
        assert np.array_equal(ours.numpy(), theirs)
    assert np.abs(wanted.images.numpy() - given.images).max() <= 1e-5
    assert given.kv_bytes == wanted.kv_bytes == kv_bytes(
        CONFIG, plan(CONFIG, ARCH), images=5, key_bytes=4, value_bytes=4, freed=True,
        guided=asked["guidance"] > 0)
    assert given.seconds > 0


def test_the_bundle_proves_itself(made: SimpleNamespace, tmp_path: Path) -> None:
    entry = made.manifest.generator
    assert set(entry.max_abs_diff) == {"scale1", "scale2", "decoder"}
    assert max(entry.max_abs_diff.values()) <= 1e-4
    assert (entry.tokens, entry.undecided) == (15, 0)
    report = verify_bundle(made.folder)
    assert report.ok, report
    assert {"generator draws", "decoder.onnx checker and metadata"} <= {
        check.name for check in report.checks}
    folder = shutil.copytree(made.folder, tmp_path / "best")
    weights = bytearray((folder / "generator.weights").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "generator.weights").write_bytes(weights)
    assert [check.name for check in verify_bundle(folder).checks if not check.ok] == [
        "generator.weights hash"]


def test_weights_are_stored_once(made: SimpleNamespace) -> None:
    size = (made.folder / "generator.weights").stat().st_size
    held = sum(tensor.numel() * 4 for module in (NET, VAE.decoder, VAE.post_quant_conv,
                                                 VAE.quantize) for tensor in
               module.parameters())
    assert size <= held
    models = [onnx.load(made.folder / f"{part.name}.onnx", load_external_data=False)
              for part in made.parts.parts]
    used = sum(int(entry.value) for model in models for tensor in model.graph.initializer
               for entry in tensor.external_data if entry.key == "length")
    assert used > 1.2 * size  # the layers of both scales


def test_the_script_needs_nothing_of_this_project(made: SimpleNamespace, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "elsewhere")
    script = folder / "generate.py"
    assert len(script.read_text().splitlines()) <= 60
    picture = tmp_path / "grid.png"
    blocked = ("import sys; sys.modules.update(dict.fromkeys(['torch', 'nas', 'supernets', "
               "'scipy', 'PIL'])); import runpy; sys.argv = sys.argv[1:]; "
               "runpy.run_path(sys.argv[0], run_name='__main__')")
    command = [sys.executable, "-c", blocked, str(script), "--n", "5", "--seed", "4", "--top-k",
               "9", "--top-p", "0.9", "--out", str(picture)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    images = Generator(folder).generate([0, 1, 2, 0, 1], seed=4, top_k=9, top_p=0.9).images
    pixels = np.round((images[:, 0] + 1) * 127.5).astype(np.uint8)
    grid = np.asarray(Image.open(picture))
    assert grid.shape == (24, 36)
    for index, image in enumerate(pixels):
        row, column = divmod(index, 3)
        assert np.array_equal(grid[12 * row:12 * row + 12, 12 * column:12 * column + 12], image)
    assert not grid[12:, 24:].any()
    done = subprocess.run([*command, "--top-k", "99"], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert "24 codes" in done.stderr


@pytest.mark.parametrize(("asked", "message"), [
    ({"labels": [3]}, r"class is outside 0 … 2"), ({"labels": []}, "no label, no image"),
    ({"top_k": 25}, "top-k 25 is outside 0 … 24"), ({"top_p": 1.5}, r"top-p 1\.5"),
    ({"guidance": -1.0}, "guidance -1.0 must be"), ({"seed": -1}, "seed -1 and")])
def test_requests_that_cannot_be_met(made: SimpleNamespace, asked: dict[str, Any], message: str
                                     ) -> None:
    with pytest.raises(InputError, match=message):
        Generator(made.folder).generate(**{"labels": [0], **asked})


def test_folders_that_are_no_generator(made: SimpleNamespace, written, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no generator of images \(decoder\.onnx is"):
        Generator(written.folder)
    folder = shutil.copytree(made.folder, tmp_path / "best")
    (folder / "generator.weights").unlink()
    with pytest.raises(ExportError, match=r"decoder\.onnx cannot be run"):
        Generator(folder)


def test_other_draws_are_noticed(made: SimpleNamespace) -> None:
    files = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    sample = made.parts.sample
    kept = read_sample(files["generator_reference.safetensors"])
    assert np.array_equal(kept.tokens, sample.tokens)
    assert (kept.guidance, kept.seed) == (1.5, 0)
    tokens = sample.tokens.copy()
    tokens[0, 1] = (tokens[0, 1] + 12) % 24
    with pytest.raises(ExportError, match=r"draws \d+ other tokens than torch"):
        draw_again(files, Sample(labels=sample.labels, guidance=1.5, seed=0, tokens=tokens,
                                 images=sample.images))


# Many architectures, with torch in place of the exported files: these are compared with it above.

FALLING = make_arch(build_space(SMALL), {"bridge": 1, "scale2.depth": 8, "scale3.depth": 4,
                                         "scale4.depth": 2})
SMALL_NET, VAE_4 = small_net(), small_vae()


@pytest.mark.parametrize("asked", SAMPLINGS)
@pytest.mark.parametrize("arch", [
    full_arch(SMALL), FALLING, variant_arch(SMALL, bridge=2, depth=4),
    variant_arch(SMALL, bridge=1, depth=8)], ids=["full", "falling", "2-4", "1-8"])
def test_caches_move_and_are_freed(arch: Arch, asked: dict[str, Any],
                                   monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = generator_parts(SMALL_NET, VAE_4, arch)
    stand_in(parts, tmp_path, monkeypatch)
    labels = np.array([2, 0, 1])
    wanted = generate(SMALL_NET, VAE_4, torch.from_numpy(labels), arch,
                      sampling=Sampling(**asked), seed=1)
    given = Generator(tmp_path).generate(labels, seed=1, **asked)
    for ours, theirs in zip(wanted.tokens, given.tokens, strict=True):
        assert np.array_equal(ours.numpy(), theirs)
    assert given.kv_bytes == wanted.kv_bytes == Generator(tmp_path).kv_bytes(
        3, guidance=asked["guidance"])
    assert np.abs(wanted.images.numpy() - given.images).max() <= 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_numpy_draws_as_torch_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = (4 * rng.standard_normal((6, 40, 300))).astype(np.float32)
    both[:, ::3] = np.round(both[:, ::3])  # with codes of equal probability
    logits = guided(both, 1.25)
    reference = torch_sampling.guided(torch.from_numpy(both), 1.25)
    assert np.array_equal(logits, reference.numpy())
    uniforms = rng.random((3, 40))
    for top_k, top_p in ((0, 0.0), (50, 0.0), (0, 0.8), (120, 0.95), (1, 0.3), (300, 1.0)):
        allowed = filtered(logits, top_k=top_k, top_p=top_p)
        expected = torch_sampling.filtered(reference, top_k=top_k, top_p=top_p)
        assert np.array_equal(np.isfinite(allowed), np.isfinite(expected.numpy()))
        assert np.array_equal(drawn(allowed, uniforms), torch_sampling.drawn(
            expected, torch.from_numpy(uniforms)).numpy())
