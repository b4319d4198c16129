"""The checks by which an implementation of LightHuBERT is one: issue 10's reference, 1 to 6."""

from functools import cache

import pytest
import torch
from hubert_nets import (
    TOLERANCE,
    furthest,
    make_supernet,
    random_archs,
    scaled,
    uniform_arch,
    waves,
)
from torch import nn
from transformers import HubertConfig, HubertModel

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from supernets.hubert.plain import PlainHubert
from supernets.hubert.presets import BASE, SMALL, TINY
from supernets.hubert.published import published_params
from supernets.hubert.supernet import HubertSupernet

SPACES = {"base": BASE, "small": SMALL, "tiny": TINY}
IN_FAIRSEQ = {"encoder.pos_conv_embed.conv.parametrizations.weight.original0":
              "encoder.pos_conv_embed.weight_g",
              "encoder.pos_conv_embed.conv.parametrizations.weight.original1":
              "encoder.pos_conv_embed.weight_v",
              "encoder.pos_conv_embed.conv.bias": "encoder.pos_conv_embed.bias"}


@cache
def small_copy(name: str) -> HubertSupernet:
    return make_supernet(scaled(SPACES[name]) if name != "tiny" else TINY)


@cache
def real_weights() -> HubertSupernet:
    return make_supernet(SMALL)


def real(name: str) -> HubertSupernet:
    """Both published spaces store the same network, so that they share its weights here."""
    with torch.device("meta"):
        net = HubertSupernet(SPACES[name])
    net.load_state_dict(real_weights().state_dict(), assign=True)
    return net.eval()


def stock(embed: int, layers: int, heads: int, units: int) -> HubertModel:
    with torch.device("meta"):
        return HubertModel(HubertConfig(
            feat_extract_norm="layer", hidden_size=embed, num_hidden_layers=layers,
            num_attention_heads=heads, intermediate_size=units)).eval()


def same_states(module: nn.Module, net: HubertSupernet, arch: Arch,
                x: torch.Tensor) -> float:
    with torch.no_grad():
        found = module(x, output_hidden_states=True).hidden_states
        wanted = net(x, arch, hidden_states=True).hidden_states
    assert len(found) == len(net.plan(arch).layers) + 1
    return furthest(found, wanted)


def test_1_the_largest_subnet_is_transformers_hubert() -> None:
    net = real("base")
    model, stored = stock(768, 12, 12, 3072), net.state_dict()
    state = {name: stored[IN_FAIRSEQ.get(name, name)] for name in model.state_dict()}
    assert len(state) == len(stored)
    model.load_state_dict(state, assign=True)
    assert same_states(model, net, net.space.extreme(largest=True), waves()) <= TOLERANCE


@pytest.mark.parametrize(("name", "embed", "heads", "ratio", "depth"), [
    ("base", 640, 10, 3.5, 12), ("small", 384, 6, 4.0, 12), ("small", 256, 4, 3.0, 10)])
def test_2_uniform_subnets_load_into_transformers_hubert(
        name: str, embed: int, heads: int, ratio: float, depth: int) -> None:
    net = real(name)
    arch = uniform_arch(net, embed=embed, heads=heads, ratio=ratio, depth=depth)
    module = net.extract(arch)
    assert type(module) is HubertModel
    model = stock(embed, depth, heads, int(ratio * embed))
    model.load_state_dict(module.state_dict(), assign=True)
    assert same_states(model, net, arch, waves()) <= TOLERANCE


def check_extraction(net: HubertSupernet, archs: list[Arch]) -> None:
    config, x = net.config, waves(2, 2400)
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    counted = costs.predict("params", net.space.encode(archs)).value
    for arch, params in zip(archs, counted, strict=True):
        module, subnet = net.extract(arch), net.plan(arch)
        assert same_states(module, net, arch, x) <= TOLERANCE
        found = sum(parameter.numel() for parameter in module.parameters())
        assert found == params
        # The closed form counts the stored mask embedding, and no gains of weight norm.
        assert found == (published_params(config, subnet) - config.width + subnet.embed
                         + config.position_kernel)


@pytest.mark.parametrize(("name", "count"), [("base", 50), ("small", 50), ("tiny", 10)])
def test_3_extracting_changes_nothing(name: str, count: int) -> None:
    net = small_copy(name)
    archs = random_archs(net, count)
    check_extraction(net, archs)
    assert {type(net.extract(arch)) for arch in archs[:3]} == {PlainHubert}


@pytest.mark.parametrize("name", ["base", "small"])
def test_3_extracting_changes_nothing_at_the_published_sizes(name: str) -> None:
    check_extraction(real(name), random_archs(real(name), 2, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "small"])
def test_3_extracting_changes_nothing_in_50_of_the_published_sizes(name: str) -> None:
    check_extraction(real(name), random_archs(real(name), 50, seed=2))


def test_4_the_smallest_subnet_reaches_all_but_the_layers_and_units_that_it_drops() -> None:
    net = make_supernet(SMALL, target_dim=768)
    smallest = net.space.extreme(largest=False)
    mask = torch.tensor([[False, True, False]])
    states = net(waves(1, 1100), smallest, mask=mask, predict=True)
    states.prediction.square().mean().backward()
    without = {name for name, tensor in net.named_parameters() if tensor.grad is None}
    assert without == {name for name, _ in net.named_parameters()
                       if name.startswith(("encoder.layers.7.", "encoder.layers.11."))}
    rows = {*range(256), *range(768, 1024), *range(1536, 1792)}
    for layer in (0, 10):
        gradient = net.encoder.layers[layer].feed_forward.intermediate_dense.weight.grad
        assert set(gradient.any(1).nonzero()[:, 0].tolist()) == rows
        gradient = net.encoder.layers[layer].feed_forward.output_dense.weight.grad
        assert set(gradient.any(0).nonzero()[:, 0].tolist()) == rows
        assert set(gradient.any(1).nonzero()[:, 0].tolist()) == set(range(256))
    # Channels that are not selected act through the norm of the whole kernel.
    assert net.encoder.pos_conv_embed.weight_v.grad[300:, 20:].any()


LENGTHS = (6000, 400, 3333, 5999)


@pytest.mark.parametrize("kind", ["supernet", "stock", "plain"])
@pytest.mark.parametrize("name", SPACES)
def test_5_padding_changes_nothing(name: str, kind: str) -> None:
    net = small_copy(name)
    arch = net.space.extreme(largest=True) if kind == "stock" else random_archs(net, 1, seed=3)[0]
    module = net.extract(arch)
    assert isinstance(module, PlainHubert) == (kind != "stock")
    x = waves(len(LENGTHS), max(LENGTHS))
    padding = torch.arange(max(LENGTHS)) >= torch.tensor(LENGTHS)[:, None]
    x[padding] = 7.0  # what stands there is not looked at
    with torch.no_grad():
        if kind == "supernet":
            together = net(x, arch, padding, hidden_states=True).hidden_states
        else:
            together = module(x, attention_mask=(~padding).long(),
                              output_hidden_states=True).hidden_states
        for item, length in enumerate(LENGTHS):
            alone = net(x[item:item + 1, :length], arch, hidden_states=True).hidden_states
            assert alone[0].shape[1] == net.config.frames(length)
            cut = tuple(state[item:item + 1, :net.config.frames(length)] for state in together)
            assert furthest(cut, alone) <= TOLERANCE


@pytest.mark.parametrize("name", SPACES)
def test_6_the_supernet_keeps_no_memory_of_a_call(name: str) -> None:
    net = small_copy(name)
    a, b = random_archs(net, 2, seed=4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        first = net(waves(), a).last_hidden_state
        other = net(waves(), b).last_hidden_state
        net.extract(b)
        again = net(waves(), a).last_hidden_state
    assert first.shape != other.shape or not torch.equal(first, other)
    assert torch.equal(first, again)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
