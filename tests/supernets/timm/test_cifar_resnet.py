"""Residual networks for small images: counts of the literature, and blocks with own widths."""

import numpy as np
import pytest
import timm
import torch
from timm_models import Images, make_model
from torch.utils.flop_counter import FlopCounterMode

from nas.core.costs import ClosedFormCosts
from nas.core.errors import SpaceError
from nas.core.vocabulary import Picked
from supernets.timm.cifar_resnet import FitChannels, register
from supernets.timm.config import TimmConfig
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

register()
PARTS = tuple(tenth / 10 for tenth in range(3, 11))


@pytest.fixture(scope="module")
def resnet():
    model = timm.create_model("cifar_resnet20", num_classes=10)
    ratios = Ratios(inner=PARTS, width=PARTS, depth=0.01, multiple=1, nearest=False)
    return TimmSupernet(model, Elastic("cifar", describe_model(model), ratios),
                        Images((3, 32, 32))).eval()


@pytest.fixture(scope="module")
def any_order():
    model = make_model("cifar_resnet20")
    parts = (0.5, 1.0)
    return TimmSupernet(model, Elastic(
        "cifar", describe_model(model), Ratios(inner=parts, width=parts, depth=0.01, multiple=1),
        {"stage0": (0, 2, 1), "stage1": (1, 2), "stage2": (1, 2)}), Images((3, 32, 32))).eval()


@pytest.mark.parametrize(("layers", "millions"),
                         [(20, 40.81), (32, 69.13), (56, 125.75), (110, 253.15), (164, 247.65)])
def test_multiply_adds_are_the_published_ones(layers, millions):
    with torch.device("meta"):
        model = timm.create_model(f"cifar_resnet{layers}", num_classes=10).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.006)


def test_each_block_has_a_width_of_its_own(resnet):
    genes = {gene.name: gene.choices for gene in resnet.space.genes}
    assert genes["stem.width"] == (4, 6, 8, 9, 11, 12, 14, 16)  # int(c · ratio), as published
    for stage, full in enumerate((16, 32, 64)):
        assert genes[f"stage{stage}.depth"] == (1, 2, 3)
        for block in range(3):
            assert genes[f"stage{stage}.block{block}.width"][-1] == full
            assert genes[f"stage{stage}.block{block}.inner1"][-1] == full
    # A block that is not there has no widths that could differ.
    per_stage = sum(64 ** depth for depth in (1, 2, 3))
    assert resnet.space.size == 8 * per_stage ** 3


def test_deep_networks_have_every_other_depth():
    with torch.device("meta"):
        model = timm.create_model("cifar_resnet56").eval()
    elastic = Elastic("cifar", describe_model(model), Ratios(depth=0.01, depth_step=2))
    depths = [gene.choices for gene in elastic.space.genes if gene.name.endswith("depth")]
    assert depths == [(1, 3, 5, 7, 9)] * 3


def test_costs_follow_the_last_block_that_is_kept(resnet):
    # The next stage reads what the last kept block gives, not what a dropped one would.
    costs = ClosedFormCosts(resnet.vocabulary, resnet.block_ids)
    rng = np.random.default_rng(0)
    archs = [resnet.space.sample(rng) for _ in range(30)]
    assert {arch.as_dict()["stage0.depth"] for arch in archs} == {1, 2, 3}
    counted = []
    for arch in archs:
        module = resnet.extract(arch).to("meta")
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 3, 32, 32, device="meta"))
        counted.append(counter.get_total_flops() // 2)
    assert costs.predict("macs", resnet.space.encode(archs)).value.tolist() == counted


def test_blocks_may_go_in_any_order(any_order):
    # The block behind one that is gone reads what the one in front of that gives.
    costs = ClosedFormCosts(any_order.vocabulary, any_order.block_ids)
    rng = np.random.default_rng(1)
    archs = [any_order.space.sample(rng) for _ in range(12)]
    counted = []
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for arch in archs:
        module = any_order.extract(arch)
        with torch.no_grad():
            assert torch.allclose(module(x), any_order(x, arch), atol=1e-5)
        with FlopCounterMode(display=False) as counter:
            module.to("meta")(torch.empty(1, 3, 32, 32, device="meta"))
        counted.append((counter.get_total_flops() // 2,
                        sum(tensor.numel() for tensor in module.parameters())))
    codes = any_order.space.encode(archs)
    predicted = [costs.predict(metric, codes).value.tolist() for metric in ("macs", "params")]
    assert list(zip(*predicted, strict=True)) == counted


def test_a_depth_keeps_the_blocks_that_the_order_says(any_order):
    whole = any_order.space.extreme(largest=True).as_dict()
    subnet = any_order.elastic.of_values({**whole, "stage0.depth": 1, "stage1.depth": 2})
    assert subnet.dropped == {"layer1.0", "layer1.2", "layer2.1"}
    narrow = any_order.elastic.of_values({**whole, "stage0.depth": 2, "stem.width": 4})
    assert narrow.units["stage0.block1.source"] == 4  # block 0 is gone


def test_an_order_that_mixes_excluded_widths_is_refused():
    with torch.device("meta"):
        model = timm.create_model("cifar_resnet20", num_classes=10)
    config = TimmConfig(model="cifar_resnet20", classes=10, channels=3, side=32, depth=0.01,
                        exclude=("conv1",))
    facts = config.facts(model)
    assert config.elastic(facts).picked["stage0.block1.source"] == Picked(
        None, ("stage0.block0.width",))
    mixed = config.model_copy(update={"drop_order": {"stage0": (0, 2, 1)}})
    with pytest.raises(SpaceError, match=r"stage0.block1.source is one of .*stem.width"):
        mixed.elastic(facts).picked  # noqa: B018


def test_shortcuts_are_cut_or_padded():
    x = torch.arange(1.0, 4.0).reshape(1, 3, 1, 1)
    fitted = FitChannels()
    assert fitted(x, 2).flatten().tolist() == [1, 2]
    assert fitted(x, 5).flatten().tolist() == [1, 2, 3, 0, 0]
    assert fitted(x, 3) is x
