from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from var_nets import SMALL, SMALL_VAE, perturbed, random_tokens, small_net, small_vae

from nas.core.arch import Arch
from nas.core.errors import ArchError, InputError, SpaceError
from nas.export.onnx import export_onnx
from nas.export.parity import open_session
from supernets.tasks.visual_generation import TokenMaps, VisualGeneration
from supernets.var.image_supernet import ImageSupernet
from supernets.var.space import build_space, full_arch, variant_arch
from supernets.var.supernet import TeacherForced

TOLERANCE = 1e-5  # of logits


def make_task() -> VisualGeneration:
    maps = TokenMaps(np.zeros((2, SMALL.tokens), np.uint16), np.zeros(2, np.uint16))
    return VisualGeneration(splits={"search": maps}, patch_nums=SMALL.patch_nums,
                            vocabulary=SMALL.vocabulary, classes=SMALL.classes)


@pytest.fixture(scope="module")
def supernet() -> ImageSupernet:
    return ImageSupernet(small_net(), perturbed(small_vae()), make_task()).eval()


def tokens_BM(supernet: ImageSupernet, images: int = 4) -> Tensor:
    labels = torch.arange(images) % (SMALL.classes + 1)
    return torch.cat((labels[:, None], *random_tokens(supernet.vae, images)), 1)


ARCHS = [full_arch(SMALL), variant_arch(SMALL, bridge=2, depth=4),
         *build_space(SMALL).decode(build_space(SMALL).sample_codes(3, np.random.default_rng(1)))]


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.digest)
def test_extracted_networks_score_as_the_supernet_does(supernet: ImageSupernet,
                                                       arch: Arch) -> None:
    inputs = tokens_BM(supernet)
    with torch.no_grad():
        wanted = supernet(inputs, arch)
        found = supernet.recalibrated(arch, [])(inputs)
        maps = list(inputs[:, 1:].split([1, 4, 9, 16], 1))
        direct = supernet.net(TeacherForced(supernet.vae.quantize.teacher_inputs(maps),
                                            inputs[:, 0]), arch)
    assert wanted.shape == (4, SMALL.tokens, SMALL.vocabulary)
    assert torch.equal(wanted, direct)
    assert float((found - wanted).abs().max()) <= TOLERANCE


def test_extracted_networks_own_their_weights(supernet: ImageSupernet) -> None:
    arch = variant_arch(SMALL, bridge=2, depth=4)
    inputs = tokens_BM(supernet)
    with torch.no_grad():
        before = supernet(inputs, arch)
        plain = supernet.extract(arch)
        for tensor in (*plain.parameters(), *plain.buffers()):
            tensor.zero_()
        assert torch.equal(supernet(inputs, arch), before)


def test_codes_of_an_extracted_network_are_not_trained(supernet: ImageSupernet) -> None:
    plain = supernet.extract(full_arch(SMALL))
    plain(tokens_BM(supernet)).square().mean().backward()
    trained = {name for name, weight in plain.named_parameters() if weight.grad is not None}
    assert trained == {name for name, _ in plain.named_parameters()
                       if not name.startswith("inputs.")}


@pytest.mark.slow
def test_onnx_runtime_gives_the_logits(tmp_path: Path) -> None:
    config = replace(SMALL, patch_nums=(1, 2, 3), depth=3, depths=(2,), bridges=(1, 3))
    vae_config = replace(SMALL_VAE, patch_nums=(1, 2, 3), image_size=18)
    supernet = ImageSupernet(small_net(config), perturbed(small_vae(vae_config)), make_task())
    plain = supernet.extract(variant_arch(config, bridge=1, depth=2)).eval()
    inputs = tokens_BM(supernet)
    model = export_onnx(plain, inputs[:2], tmp_path / "model.onnx", metadata={},
                        input_name="tokens", output_names=("logits",))
    found, = open_session(model.SerializeToString()).run(None, {"tokens": inputs.numpy()})
    with torch.no_grad():
        wanted = plain(inputs)
    assert np.abs(found - wanted.numpy()).max() <= TOLERANCE


def test_wrong_inputs_and_pairs_are_refused(supernet: ImageSupernet) -> None:
    inputs, arch = tokens_BM(supernet), full_arch(SMALL)
    for wrong, match in ((inputs[:, 1:], "takes"), (inputs.int(), "int32"),
                         (inputs + SMALL.vocabulary, "outside 0 … 23"),
                         (torch.cat((inputs[:, :1] + 1, inputs[:, 1:]), 1), "class is outside")):
        with pytest.raises(InputError, match=match):
            supernet(wrong, arch)
    with pytest.raises(ArchError, match="space"):
        supernet.extract(replace(arch, space_id="other/1"))
    other = small_vae(replace(SMALL_VAE, vocabulary=8))
    with pytest.raises(SpaceError, match="vocabulary"):
        ImageSupernet(supernet.net, other, make_task())
