"""Subnets that work on smaller images than they are given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from timm_models import SIDE, Images, images, make_model
from torch.utils.flop_counter import FlopCounterMode

from hardware_profiles.onnx_blocks import onnx_model
from nas.core.costs import ClosedFormCosts
from nas.core.errors import SpaceError
from nas.export.onnx import export_onnx
from nas.export.parity import open_session, run
from supernets.timm.elastic import Elastic
from supernets.timm.families import describe_model
from supernets.timm.resolution import AtResolution
from supernets.timm.supernet import TimmSupernet

SIDES = (32, 48, SIDE)
NAMES = ("mobilenetv3_small_050", "resnet18", "test_convnext")


def make(name: str) -> TimmSupernet:
    model = make_model(name)
    elastic = Elastic(f"timm:{name}/1", describe_model(model), sides=SIDES)
    return TimmSupernet(model, elastic, Images((3, SIDE, SIDE))).eval()


def at(supernet, side, *, largest):
    arch = supernet.space.extreme(largest=largest)
    chosen = tuple((name, side if name == "resolution" else value)
                   for name, value in arch.choices)
    return replace(arch, choices=chosen)


@pytest.mark.parametrize("name", NAMES)
def test_a_subnet_at_a_resolution_is_the_network_on_smaller_images(name):
    supernet = make(name)
    smaller = torch.nn.functional.interpolate(images(), (48, 48), mode="bilinear")
    with torch.no_grad():
        for largest in (True, False):
            whole = supernet.extract(at(supernet, SIDE, largest=largest))
            module = supernet.extract(at(supernet, 48, largest=largest))
            assert isinstance(module, AtResolution)
            assert not isinstance(whole, AtResolution)
            found = supernet(images(), at(supernet, 48, largest=largest))
            assert torch.equal(found, module(images()))
            assert torch.allclose(found, whole(smaller), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_exact_at_every_resolution(name):
    supernet = make(name)
    archs = [at(supernet, side, largest=largest) for side in SIDES for largest in (True, False)]
    archs += [supernet.space.sample(np.random.default_rng(seed)) for seed in range(4)]
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    predicted = costs.predict("macs", supernet.space.encode(archs)).value
    for arch, macs in zip(archs, predicted, strict=True):
        module = supernet.extract(arch).to("meta")
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 3, SIDE, SIDE, device="meta"))
        assert macs == counter.get_total_flops() // 2


@pytest.mark.slow
def test_files_make_their_images_smaller(tmp_path):
    supernet = make("mobilenetv3_small_050")
    arch = at(supernet, 32, largest=False)
    module = supernet.extract(arch)
    export_onnx(module, images(), tmp_path / "model.onnx", metadata={})
    found = run(open_session((tmp_path / "model.onnx").read_bytes()), images().numpy(), batch=2)
    with torch.no_grad():
        expected = module(images()).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    stem = supernet.vocabulary[supernet.block_ids(supernet.space.encode([arch]))[0, 0]]
    block = onnx_model(stem.graph, batch=2, rng=np.random.default_rng(0)).SerializeToString()
    assert run(open_session(block), images().numpy(), batch=2).shape[1:] == stem.graph.output.shape


@pytest.mark.parametrize("sides", [(64, 32), (32, 32, 64), (0, 64)])
def test_resolutions_that_make_no_sense_are_refused(sides):
    with pytest.raises(SpaceError, match="ascending and distinct"):
        Elastic("timm:x/1", describe_model(make_model("resnet18")), sides=sides)


def test_vision_transformers_have_one_resolution():
    with pytest.raises(SpaceError, match="positions are learnt"):
        Elastic("timm:x/1", describe_model(make_model("test_vit")), sides=(32, 64))
