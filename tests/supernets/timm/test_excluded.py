"""Layers that stay as they are, and the spaces in which depths or widths stay."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from timm_models import Images
from torch import nn

from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError
from supernets.tas.expected_cost import ExpectedCost
from supernets.timm.config import TimmConfig
from supernets.timm.supernet import TimmSupernet

PARTS = (0.5, 0.75, 1.0)
SIDE = 32


def config(model: str, **values: Any) -> TimmConfig:
    return TimmConfig(**{"model": model, "classes": 5, "channels": 3, "side": SIDE,
                         "inner": PARTS, "width": PARTS, "depth": 0.01, "kernels": False,
                         **values})


def supernet(model: str, **values: Any) -> TimmSupernet:
    return config(model, **values).make_supernet(Images((3, SIDE, SIDE))).eval()


def layers(module: nn.Module, path: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()
            if name == path or name.startswith(f"{path}.")}


def networks(net: TimmSupernet, count: int = 12) -> Iterator[nn.Module]:
    rng = np.random.default_rng(0)
    yield net.extract(net.space.extreme(largest=False))
    for code in net.space.sample_codes(count, rng):
        yield net.extract(net.space.decode(code[None])[0])


@pytest.mark.parametrize(("model", "patterns", "paths"), [
    ("test_resnet", ["layer2.0.conv2"], ["layer2.0.conv2"]),
    ("test_resnet", ["conv1", "layer4*"], ["conv1.0", "layer4"]),
    ("cifar_resnet20_half", ["layer2.1"], ["layer2.1"]),
    ("cifar_resnet20_half", ["*.conv1"], ["layer1.2.conv1", "layer3.1.conv1"]),
    ("test_efficientnet", ["blocks.3.*.conv_dw"], ["blocks.3.0.conv_dw"])])
def test_excluded_layers_stay_in_every_network(model: str, patterns: Sequence[str],
                                               paths: Sequence[str]) -> None:
    net = supernet(model, exclude=tuple(patterns))
    whole = net.extract(net.space.extreme(largest=True))
    free = supernet(model)
    assert 1 < net.space.size < free.space.size
    assert net.space.id != free.space.id
    for network in networks(net):
        for path in paths:
            assert layers(network, path) == layers(whole, path)
        with torch.no_grad():
            assert network(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 5)


@pytest.mark.parametrize("model", ["test_resnet", "cifar_resnet20_half"])
def test_costs_are_exact_around_excluded_layers(model: str) -> None:
    net = supernet(model, exclude=("layer2.0.conv2",))
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    for code in net.space.sample_codes(6, np.random.default_rng(1)):
        network = net.extract(net.space.decode(code[None])[0])
        counted = sum(parameter.numel() for parameter in network.parameters())
        assert costs.predict("params", code[None]).value[0] == counted


@pytest.mark.parametrize(("model", "pattern"), [("resnet18", "layer4.1*"),
                                                ("cifar_resnet20_half", "layer1*")])
def test_expected_costs_know_blocks_that_depend_on_nothing(model: str, pattern: str) -> None:
    net = supernet(model, exclude=(pattern,))
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    assert any(not slot.genes for slot in net.slots.slots)
    expected = ExpectedCost(net.slots, costs.block_table("macs"))
    for code in net.space.sample_codes(3, np.random.default_rng(2)):
        certain = {gene.name: torch.eye(len(gene.choices))[int(place)]
                   for gene, place in zip(net.space.genes, code, strict=True)}
        assert float(expected(certain)) == costs.predict("macs", code[None]).value[0]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"'conv9' matches no layer .* such as layer1\.0"):
        supernet("test_resnet", exclude=("conv1", "conv9"))


def test_depths_or_widths_that_stay() -> None:
    shallow = supernet("cifar_resnet20_half", inner=(1.0,), width=(1.0,))
    assert shallow.space.size == 3**3
    narrow = supernet("cifar_resnet20_half", depth=1.0)
    assert not [gene for gene in narrow.space.genes if gene.name.endswith("depth")]
    for network in networks(narrow, 4):
        assert len(network.get_submodule("layer1")) == 3


def test_a_space_is_known_by_all_its_ratios() -> None:
    ids = [supernet("test_resnet", **values).space.id for values in (
        {}, {"multiple": 16}, {"nearest": False}, {"depth_step": 2}, {"kernels": True},
        {"exclude": ("layer4.0.conv1",)})]
    assert len(set(ids)) == len(ids)
    usual = TimmConfig(model="test_resnet", classes=5, channels=3, side=SIDE)
    assert usual.elastic(usual.facts(usual.make_model())).id == f"timm:test_resnet/1@{SIDE}"


def test_a_configuration_is_written_and_read_whole() -> None:
    one = config("test_resnet", exclude=("layer4*",), multiple=16, nearest=False, depth_step=2)
    other = TimmConfig.model_validate_json(one.model_dump_json())
    model = one.make_model()
    assert other.elastic(other.facts(model)).space == one.elastic(one.facts(model)).space
