"""The VAR in the package: its files, the checks of its reference on trained weights, its images."""

import json
from pathlib import Path

import pytest
import torch

import supernets.shipped
from nas.core.arch import Arch
from nas.pipeline.compose import load_supernet
from supernets.tasks.visual_generation import VisualGeneration
from supernets.var.decoding import CachedDecoder
from supernets.var.feature_fid import FeatureFid
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.memory import kv_bytes
from supernets.var.metrics import class_accuracy
from supernets.var.presets import FMNIST, VAE_FMNIST
from supernets.var.sampling import Sampling
from supernets.var.space import full_arch, variant_arch
from supernets.var.supernet import TeacherForced

FOLDER = Path(supernets.shipped.__file__).parent / "var_fmnist"
WHOLE = full_arch(FMNIST)
ARCHS = [WHOLE, *(variant_arch(FMNIST, bridge=bridge, depth=depth)
                  for bridge, depth in ((1, 4), (2, 8), (3, 2), (4, 4), (5, 2)))]


@pytest.fixture(scope="module")
def shipped() -> ImageSupernet:
    found: object = load_supernet("var-fmnist")
    assert isinstance(found, ImageSupernet)
    return found


def test_files_are_small_and_come_with_licence_and_provenance() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000
    assert "Zalando" in (FOLDER / "LICENSE").read_text()
    provenance = json.loads((FOLDER / "supernet.json").read_text())["provenance"]
    assert provenance["trained_by"] == "tests/benchmarks/train_var_fmnist.py"
    assert "60,000" in provenance["images"]


def test_sizes(shipped: ImageSupernet) -> None:
    assert shipped.net.config == FMNIST
    assert shipped.vae.config == VAE_FMNIST
    assert shipped.space.size == 56
    assert sum(parameter.numel() for parameter in shipped.net.parameters()) == 1_928_528


def _known(shipped: ImageSupernet, images: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    tokens_BM, tokens_BL = next(iter(shipped.task.batches("test")))
    sides = [side**2 for side in FMNIST.patch_nums]
    return list(torch.split(tokens_BL[:images], sides, 1)), tokens_BM[:images, 0]


@torch.no_grad()
@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.digest)
def test_cached_steps_are_the_teacher_forced_logits(shipped: ImageSupernet, arch: Arch) -> None:
    net, quantizer = shipped.net, shipped.vae.quantize
    tokens, labels_B = _known(shipped, 4)
    forced = net(TeacherForced(quantizer.teacher_inputs(tokens), labels_B), arch)
    decoder = CachedDecoder(net, labels_B, arch)
    found, f_hat = [decoder.step()], quantizer.blank(4)
    for scale in range(1, FMNIST.scales):
        f_hat = f_hat + quantizer.contribution(tokens[scale - 1], scale - 1)
        found.append(decoder.step(quantizer.scale_input(f_hat, scale)))
    # Logits of a trained net are of the order of 10.
    torch.testing.assert_close(torch.cat(found, 1), forced, rtol=1e-5, atol=1e-5)
    assert decoder.kv_bytes == kv_bytes(FMNIST, net.plan(arch), images=4, key_bytes=4,
                                        value_bytes=4, guided=False, freed=True)


def test_switching_depth_copies_nothing_and_comes_back(shipped: ImageSupernet) -> None:
    few, more = (variant_arch(FMNIST, bridge=4, depth=depth) for depth in (2, 8))
    pointers = [parameter.data_ptr() for parameter in shipped.net.parameters()]
    made = [generate(shipped.net, shipped.vae, torch.arange(4), arch, sampling=Sampling(), seed=1)
            for arch in (few, more, few)]
    assert torch.equal(made[0].images, made[2].images)
    assert not torch.equal(made[0].images, made[1].images)
    assert pointers == [parameter.data_ptr() for parameter in shipped.net.parameters()]


@torch.no_grad()
@pytest.mark.parametrize("arch", [WHOLE, variant_arch(FMNIST, bridge=4, depth=2)],
                         ids=["whole", "d2"])
def test_images_are_of_their_classes(shipped: ImageSupernet, arch: Arch) -> None:
    task = shipped.task
    assert isinstance(task, VisualGeneration)
    assert isinstance(task.sampler, FeatureFid)
    labels_B = torch.arange(100) % 10
    made = generate(shipped.net, shipped.vae, labels_B, arch, sampling=Sampling(), seed=0)
    assert class_accuracy(task.sampler.classifier(made.images), labels_B) >= 85


def test_every_scale_is_known_far_better_than_by_chance(shipped: ImageSupernet) -> None:
    task = shipped.task
    batches = [next(iter(task.batches("test")))]
    for arch in (WHOLE, shipped.space.extreme(largest=False)):
        found = task.metrics(shipped.extract(arch), batches)
        assert found["error"] < 70  # of ln V
        assert all(found[f"ce_scale{scale}"] < 6 for scale in range(1, 7))  # ln V is 6.24
