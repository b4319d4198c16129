"""`nas generate`: pictures from supernets and bundles."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from var_folders import save_small
from var_generators import stand_in
from var_nets import SMALL

from cli.main import main
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore
from hardware_profiles.table import LatencyTable
from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import validated
from nas.pipeline.generate import GenerateRequest, generate
from supernets.var import generate as torch_generate
from supernets.var.choice import all_codes, deepest
from supernets.var.generator_parts import generator_parts
from supernets.var.image_supernet import ImageSupernet
from supernets.var.memory import kv_bytes
from supernets.var.presets import FMNIST
from supernets.var.sampling import Sampling
from supernets.var.space import build_space, plan, variant_arch

SIDE, GAP = 24, 1
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("generate") / "net")


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    def run(source: Path = folder, **asked: Any) -> dict[str, Any]:
        request = validated(GenerateRequest, {"source": str(source), "out": tmp_path / "grid.png",
                                              **asked})
        return dict(generate(request))

    return run


@pytest.fixture
def bundle(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `nas generate` reads of a bundle."""
    net, place = supernet(folder), tmp_path / "best"
    place.mkdir()
    arch = variant_arch(SMALL, bridge=2, depth=4)
    (place / "manifest.json").write_text("{}")
    (place / "arch.json").write_text(arch.to_json())
    return stand_in(generator_parts(net.net, net.vae, arch, labels=("shirt", "Bag", "shoe")),
                    place, monkeypatch)


def supernet(folder: Path) -> ImageSupernet:
    found: object = load_supernet(str(folder))
    assert isinstance(found, ImageSupernet)
    return found


def pictures(path: Path) -> list[np.ndarray]:
    """Returns the images of a grid, row by row."""
    grid = np.asarray(Image.open(path))
    step = SIDE + GAP
    return [grid[top:top + SIDE, left:left + SIDE] for top in range(0, grid.shape[0], step)
            for left in range(0, grid.shape[1], step)]


def test_a_supernets_picture_is_what_generate_makes(folder: Path, run: Run) -> None:
    found = run(n=5, classes=("2", "0"), seed=3, batch=2, bridge=2, depth=4, top_k=9, top_p=0.9,
                cfg=2.0)
    net, arch = supernet(folder), variant_arch(SMALL, bridge=2, depth=4)
    labels = torch.tensor([2, 0, 2, 0, 2])
    made = torch_generate.generate(net.net, net.vae, labels, arch, seed=3,
                                   sampling=Sampling(guidance=2.0, top_k=9, top_p=0.9))
    grid = pictures(Path(found["out"]))
    assert len(grid) == 6  # two columns, one for each class
    for image, shown in zip(made.images[:, 0].numpy(), grid, strict=False):
        assert np.array_equal(shown, np.round((image + 1) * 127.5).astype(np.uint8))
    assert (grid[5] == 255).all()
    assert found["classes"] == labels.tolist()
    assert found["depths"] == [9, 9, 4, 4]
    assert found["arch"] == arch.as_dict()
    assert found["kv_bytes"] == kv_bytes(SMALL, plan(SMALL, arch), images=2, key_bytes=4,
                                         value_bytes=4, freed=True)
    assert found["seconds_per_image"] > 0


def test_a_bundle_makes_the_same_picture_without_torch(folder: Path, bundle: Path, run: Run,
                                                       tmp_path: Path) -> None:
    asked = {"n": 4, "classes": ("shoe", "BAG"), "seed": 1, "batch": 3}
    found = run(bundle, **asked, max_kv_mb=10)
    assert found["runtime"] == "onnxruntime"
    assert found["classes"] == [2, 1, 2, 1]
    picture = (tmp_path / "grid.png").read_bytes()
    same = run(folder, **{**asked, "classes": ("2", "1")}, bridge=2, depth=4)
    assert (tmp_path / "grid.png").read_bytes() == picture
    assert {name: same[name] for name in ("arch", "depths", "kv_bytes")} == {
        name: found[name] for name in ("arch", "depths", "kv_bytes")}
    code = ("import sys, nas.pipeline.generate_bundle, nas.pipeline.grid; "
            "print([name for name in ('torch', 'onnx', 'timm') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_deepest_within_the_caches(run: Run) -> None:
    free = run(n=2)
    assert free["depths"] == [9, 9, 9, 9]
    assert free["classes"] == [0, 1]
    bound = kv_bytes(SMALL, plan(SMALL, variant_arch(SMALL, bridge=2, depth=4)), images=2,
                     key_bytes=4, value_bytes=4, freed=True)
    found = run(n=2, max_kv_mb=bound / 1e6)
    assert found["kv_bytes"] <= bound
    every = build_space(SMALL).decode(all_codes(build_space(SMALL)))

    def tokens(arch: Arch) -> int:
        return sum(plan(SMALL, arch).lengths.values())

    fitting = [arch for arch in every if kv_bytes(
        SMALL, plan(SMALL, arch), images=2, key_bytes=4, value_bytes=4, freed=True) <= bound]
    assert 0 < len(fitting) < len(every)
    chosen = next(arch for arch in every if arch.as_dict() == found["arch"])
    assert tokens(chosen) == max(map(tokens, fitting))


@pytest.mark.parametrize("config", [SMALL, FMNIST])
def test_every_code_is_there_once(config: Any) -> None:
    space = build_space(config)
    codes = all_codes(space)
    assert len(np.unique(codes, axis=0)) == len(codes) == space.size
    assert np.array_equal(space.canonical_codes(codes), codes)


def test_the_deepest_within_a_latency(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch,
                                      tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"have not been measured .* nas profile run --supernet"):
        run(max_latency_ms=5.0)
    net = supernet(folder)
    profile = profile_host(net.space, net.vocabulary, net.block_ids, seed=0, config=HostConfig(
        calib_nets=4, test_nets=4, memory=False, protocol=MeasureProtocol(
            warm_up=1, runs=1, passes=2, max_passes=2)))
    ProfileStore(tmp_path / "profiles").save(profile)
    table = LatencyTable(profile, net.vocabulary, net.block_ids)
    codes = all_codes(net.net.space)
    times = table.predict("latency_ms", codes).value
    bound = float(np.quantile(times, 0.3))
    found = run(n=1, max_latency_ms=bound)
    assert found["predicted_latency_ms"] <= bound
    wanted = deepest(SMALL, images=1, guided=True, max_latency_ms=bound,
                     latency_ms=lambda asked: table.predict("latency_ms", asked).value)
    assert found["arch"] == wanted.as_dict()
    assert sum(found["depths"]) < 36
    with pytest.raises(InputError, match=r"the fastest subnet of small/1 takes .* allow more"):
        run(max_latency_ms=times.min() / 2)


@pytest.mark.parametrize(("asked", "message"), [
    (["--class", "3"], "--class: class 3 is outside 0 … 2"),
    (["--class", "hat"], "--class: there is no class 'hat'; give an index of 0 … 2"),
    (["--top-k", "25"], "top-k 25 is outside 0 … 24"), (["--top-p", "2"], "top-p 2.0 is outside"),
    (["--cfg", "-1"], "guidance -1.0 must be"), (["--cfg", "nan"], "guidance nan must be"),
    (["--n", "0"], "--n: "), (["--seed", "-1"], "--seed: "), (["--batch", "0"], "--batch: "),
    (["--max-kv-mb", "0.001"], "1000 bytes of key-value caches are under the 245760 of the "
                               "smallest subnet of small/1 for 16 images"),
    (["--max-kv-mb", "inf"], "--max-kv-mb: "),
    (["--bridge", "5", "--depth", "4"], "--bridge 5 does not say which first scales run all"),
    (["--bridge", "2", "--depth", "9"], "--bridge 2 leaves scales to a --depth of 2, 4, 8, not 9"),
    (["--bridge", "2"], "not None"), (["--depth", "4"], "--depth 4 alone does not say"),
    (["--bridge", "4", "--depth", "3"], "--depth 3 is none of 2, 4, 8; drop it"),
    (["--bridge", "2", "--depth", "4", "--max-kv-mb", "9"], "--max-kv-mb chooses a network"),
    (["--out", "no/such/grid.png"], "--out: folder no/such does not exist")])
def test_bad_input_is_one_line(folder: Path, asked: list[str], message: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["generate", str(folder), *asked])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nas: ")]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(("asked", "message"), [
    ({"bridge": 2}, "--bridge chooses a network of a supernet"),
    ({"max_latency_ms": 3.0}, "--max-latency-ms chooses"),
    ({"classes": ("hat",)}, "no class 'hat'; give shirt, Bag, shoe, or an index"),
    ({"top_k": 25}, "top-k 25"),
    ({"max_kv_mb": 0.01, "n": 3}, r"the caches of 3 images take 0\.\d+ MB; allow more, give a "
                                  "smaller --batch")])
def test_what_a_bundle_cannot_do(bundle: Path, run: Run, asked: dict[str, Any], message: str
                                 ) -> None:
    with pytest.raises(InputError, match=message):
        run(bundle, **asked)


def test_what_is_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "grid.png")
    assert main(["generate", str(folder), "--n", "2", "-o", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["out"] == out
    assert found["images"] == 2
    assert main(["generate", str(folder), "--n", "2", "-o", out]) == 0
    printed = capsys.readouterr().out
    assert f"picture: {out}" in printed
    assert f"{found['kv_bytes']:,} bytes" in printed
    assert "layers of each scale: 9 9 9 9" in printed


def test_supernets_that_make_no_images(tiny_folder: Path, run: Run) -> None:
    with pytest.raises(InputError, match="makes no images; give a supernet that does"):
        run(tiny_folder)
