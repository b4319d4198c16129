import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import make_divisible
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from nas.core.arch import Arch, make_arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import ArchError, SpaceError
from supernets.elastic.conv import ElasticDepthwiseConv2d
from supernets.mobilenet.config import MobileNetConfig, StageConfig, plan, rounded_width
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification

TOLERANCE = 1e-5  # of logits, in single precision


def make_supernet(config: MobileNetConfig, *, seed: int = 0) -> MobileNetSupernet:
    """Returns a supernet whose every tensor, kernel maps and norms too, is random."""
    task = ImageClassification(labels=tuple(map(str, range(config.num_classes))),
                               input_shape=config.input_shape, mean=0.5, std=0.25, splits={})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = MobileNetSupernet(config, task)
        for name, tensor in net.state_dict().items():
            if "kernel_maps" in name:
                tensor += 0.1 * torch.randn_like(tensor)
            elif name.endswith("running_var"):
                tensor.uniform_(0.8, 1.6)
            elif "bn" in name and name.endswith("weight"):
                tensor.uniform_(0.5, 1.0)
            elif name.endswith(("bias", "running_mean")):
                tensor.normal_(std=0.3)
    return net.eval()


def images(config: MobileNetConfig, *, batch: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *config.input_shape, generator=generator)


@pytest.fixture(scope="module")
def shipped() -> MobileNetSupernet:
    return make_supernet(FMNIST).to(memory_format=torch.channels_last)


@st.composite
def configs(draw: st.DrawFn) -> MobileNetConfig:
    def some(*values: int) -> tuple[int, ...]:
        return tuple(sorted(draw(st.sets(st.sampled_from(values), min_size=1, max_size=2))))

    def stage() -> StageConfig:
        return StageConfig(widths=some(8, 12, 16, 20), depths=some(1, 2, 3), kernels=some(1, 3, 5),
                           expansions=some(1, 2, 3), stride=draw(st.sampled_from([1, 2])),
                           se_ratio=draw(st.sampled_from([0.0, 0.01, 0.25, 0.5])))
    return MobileNetConfig(
        name="random/1", input_shape=(draw(st.sampled_from([1, 3])), draw(st.integers(5, 12)), 9),
        num_classes=4, stem_width=draw(st.sampled_from([8, 12, 20])),
        head_width=draw(st.sampled_from([8, 10])), stages=(stage(), stage()),
        activation=draw(st.sampled_from(["relu", "hard_swish", "silu"])))


def same(module: nn.Module, net: MobileNetSupernet, arch: Arch, x: Tensor) -> float:
    with torch.no_grad():
        return float((module(x) - net(x, arch)).abs().max())


def test_extracting_changes_nothing(shipped: MobileNetSupernet) -> None:
    x = images(FMNIST)
    archs = [shipped.space.extreme(largest=largest) for largest in (True, False)]
    archs += shipped.space.decode(shipped.space.sample_codes(38, np.random.default_rng(0)))
    costs = ClosedFormCosts(shipped.vocabulary, shipped.block_ids)
    counted = costs.predict("params", shipped.space.encode(archs)).value
    for arch, params in zip(archs, counted, strict=True):
        module = shipped.extract(arch)
        assert isinstance(module, EfficientNet)
        assert same(module, shipped, arch, x) <= TOLERANCE
        assert sum(p.numel() for p in module.parameters()) == params


@given(config=configs(), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_extracting_changes_nothing_in_any_config(config: MobileNetConfig, seed: int) -> None:
    net = make_supernet(config, seed=seed).double()
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    archs = [net.space.extreme(largest=True), net.space.sample(np.random.default_rng(seed))]
    counted = costs.predict("params", net.space.encode(archs)).value
    for arch, params in zip(archs, counted, strict=True):
        module = net.extract(arch)
        assert same(module, net, arch, images(config).double()) <= 1e-11
        assert sum(p.numel() for p in module.parameters()) == params


@pytest.mark.parametrize("config", [FMNIST, replace(FMNIST, activation="silu", input_shape=(
    1, 12, 12))], ids=["relu", "silu"])
@pytest.mark.parametrize("choice", ["largest", "smallest", "random"])
def test_training_agrees_with_the_extracted_network(config: MobileNetConfig, choice: str) -> None:
    net = make_supernet(config).double().train()
    arch = (net.space.sample(np.random.default_rng(7)) if choice == "random"
            else net.space.extreme(largest=choice == "largest"))
    module = net.extract(arch)
    assert module.training
    x = images(config, batch=6).double()
    outputs, expected = net(x, arch), module(x)
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)
    target = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).double()
    (outputs * target).sum().backward()
    (expected * target).sum().backward()
    wanted = gradients_of_slices(net, module, arch)
    for name, parameter in net.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted[name], rtol=1e-7, atol=1e-9, msg=name)


def gradients_of_slices(net: MobileNetSupernet, module: nn.Module,
                        arch: Arch) -> dict[str, Tensor]:
    """The extracted network's gradients, put where each of its tensors was sliced from."""
    stored = dict(net.named_parameters())
    wanted = {name: torch.zeros_like(parameter) for name, parameter in stored.items()}
    kernels = {f"blocks.{b.stage}.{b.index}.conv_dw": b for b in plan(net.config, arch)}
    for name, parameter in module.named_parameters():
        owner = name.removesuffix(".weight")
        if owner not in kernels:
            wanted[name][tuple(slice(size) for size in parameter.shape)] = parameter.grad
            continue
        conv = net.get_submodule(owner)
        assert isinstance(conv, ElasticDepthwiseConv2d)
        weight = conv.sliced(kernels[owner].mid_width, kernels[owner].kernel)
        sources = {f"{owner}.{key}": value for key, value in conv.named_parameters()}
        parts = torch.autograd.grad(weight, list(sources.values()), parameter.grad,
                                    allow_unused=True)
        for key, part in zip(sources, parts, strict=True):
            if part is not None:
                wanted[key] = part
    return wanted


def test_the_supernet_keeps_no_memory_of_a_call(shipped: MobileNetSupernet) -> None:
    x = images(FMNIST)
    archs = shipped.space.decode(shipped.space.sample_codes(5, np.random.default_rng(2)))
    before = copy.deepcopy(shipped.state_dict())
    with torch.no_grad():
        alone = [shipped(x, arch) for arch in archs]
        shipped.extract(archs[0])
        mixed = [shipped(x, arch) for arch in reversed(archs)]
    for first, second in zip(alone, reversed(mixed), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    for name, tensor in shipped.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_training_mode_writes_no_statistics() -> None:
    net = make_supernet(FMNIST).train()
    before = copy.deepcopy(net.state_dict())
    net(images(FMNIST), net.space.extreme(largest=True))
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_an_extracted_network_owns_its_tensors(shipped: MobileNetSupernet) -> None:
    arch = shipped.space.extreme(largest=True)
    module = shipped.extract(arch)
    stored = {t.untyped_storage().data_ptr() for t in shipped.state_dict().values()}
    tensors = list(module.state_dict().values())
    assert all(tensor.device.type == "cpu" for tensor in tensors)
    assert not stored & {t.untyped_storage().data_ptr() for t in tensors}
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)
    assert all(p.requires_grad and p.grad_fn is None for p in module.parameters())
    before = copy.deepcopy(shipped.state_dict())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for name, tensor in shipped.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_extracting_draws_no_random_numbers(shipped: MobileNetSupernet) -> None:
    before = torch.random.get_rng_state()
    module = shipped.extract(shipped.space.extreme(largest=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not module.training


SQUEEZED = MobileNetConfig(
    name="squeezed/1", input_shape=(1, 8, 8), num_classes=3, stem_width=20, head_width=16,
    activation="hard_swish", stages=(
        StageConfig(widths=(12, 20), depths=(1, 2), kernels=(3,), expansions=(1, 2, 3),
                    se_ratio=0.25),))


def test_widths_are_those_of_timm() -> None:
    net = make_supernet(SQUEEZED)
    with_skip = set()
    for code in range(40):
        arch = net.space.sample(np.random.default_rng(code))
        blocks = dict(net.extract(arch).named_modules())
        for block in plan(SQUEEZED, arch):
            stock: Any = blocks[f"blocks.{block.stage}.{block.index}"]
            assert stock.conv_dw.weight.shape[0] == block.mid_width
            assert stock.se.conv_reduce.weight.shape[0] == block.se_width
            assert stock.has_skip == block.has_skip
            with_skip.add(block.has_skip)
    assert with_skip == {True, False}


def test_the_squeeze_fits_every_expansion() -> None:
    # 20 channels widened once make 24 and squeeze to 6; twice they make 40 and squeeze to 5.
    net = make_supernet(SQUEEZED)
    widest = net.get_parameter("blocks.0.0.se.conv_reduce.weight")
    assert widest.shape[0] == 6
    choices = {**net.space.extreme(largest=True).as_dict(), "stage0.block0.expansion": 1}
    arch = make_arch(net.space, choices)
    assert same(net.extract(arch), net, arch, images(SQUEEZED)) <= TOLERANCE


@pytest.mark.parametrize("step", [1, 0.25])
def test_rounding_is_that_of_timm(step: float) -> None:
    widths = np.arange(1, 700, step).tolist()
    assert [rounded_width(w) for w in widths] == [make_divisible(w) for w in widths]


def test_the_supernets_tensors_have_the_names_of_timm(shipped: MobileNetSupernet) -> None:
    largest = shipped.extract(shipped.space.extreme(largest=True)).state_dict()
    stored = shipped.state_dict()
    own = {name for name in stored if "kernel_maps" not in name}
    assert own == {name for name in largest if not name.endswith("num_batches_tracked")}
    assert all(stored[name].shape == largest[name].shape for name in own)


@pytest.mark.parametrize("call", [
    lambda net, arch: net(images(FMNIST), arch),
    lambda net, arch: net.extract(arch),
    lambda net, arch: net.recalibrated(arch, [])], ids=["forward", "extract", "recalibrated"])
def test_an_architecture_of_another_space_is_an_error(
        shipped: MobileNetSupernet, call: Callable[[MobileNetSupernet, Arch], object]) -> None:
    arch = shipped.space.extreme(largest=False)
    unknown_width = tuple((name, 12 if name == "stage0.width" else v) for name, v in arch.choices)
    for wrong in (Arch("mobilenet-fmnist/2", arch.choices),
                  Arch(arch.space_id, arch.choices[:-1]),
                  Arch(arch.space_id, unknown_width)):
        with pytest.raises(ArchError):
            call(shipped, wrong)


def test_images_with_other_channels_are_an_error() -> None:
    net = make_supernet(replace(FMNIST, input_shape=(3, 28, 28)))
    with pytest.raises(ArchError, match="takes 3 image channels, not 1"):
        net(images(FMNIST), net.space.extreme(largest=True))


def test_a_supernet_survives_pickling_and_copying(shipped: MobileNetSupernet) -> None:
    arch = shipped.space.extreme(largest=False)
    x = images(FMNIST)
    with torch.no_grad():
        expected = shipped(x, arch)
        for other in (pickle.loads(pickle.dumps(shipped)), copy.deepcopy(shipped)):
            torch.testing.assert_close(other(x, arch), expected, rtol=0, atol=0)


def test_a_configuration_survives_json() -> None:
    for config in (FMNIST, SQUEEZED):
        assert MobileNetConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


STAGE = {"widths": [8], "depths": [1]}
CONFIG = {"name": "c/1", "input_shape": [1, 8, 8], "num_classes": 2, "stem_width": 8,
          "head_width": 8, "stages": [STAGE]}


@pytest.mark.parametrize(("change", "message"), [
    ({"activation": "tanh"}, "activation 'tanh' is none of"),
    ({"stages": []}, "no stages"),
    ({"stages": [{**STAGE, "stride": 2}] * 5}, "at most 4 stages"),
    ({"stages": [{**STAGE, "widths": [16, 8]}]}, "stage 0: widths .* ascending"),
    ({"stages": [{**STAGE, "widths": [8, 8]}]}, "distinct"),
    ({"stages": [{**STAGE, "widths": []}]}, "widths"),
    ({"stages": [{**STAGE, "widths": [8.5]}]}, "positive integers"),
    ({"stages": [{**STAGE, "depths": [0, 1]}]}, "depths"),
    ({"stages": [{**STAGE, "kernels": [4]}]}, "must be odd"),
    ({"stages": [{**STAGE, "stride": 3}]}, "stride 3"),
    ({"stages": [{**STAGE, "se_ratio": 1.5}]}, "se_ratio"),
    ({"stages": [{**STAGE, "pool": 1}]}, "pool"),
    ({"stages": [{"widths": [8]}]}, "depths"),
    ({"stages": 3}, "cannot be read"),
    ({"stages": ["x"]}, "cannot be read"),
    ({"colour": 1}, "colour"),
    ({"stem_width": 0}, "positive integers"),
    ({"num_classes": "10"}, "positive integers"),
    ({"input_shape": [28, 28]}, "input_shape"),
    ({"input_shape": 28}, "cannot be read"),
])
def test_configurations_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        MobileNetConfig.from_dict({**CONFIG, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(CONFIG))
def test_a_configuration_that_lacks_a_key_is_an_error(key: str) -> None:
    with pytest.raises(SpaceError, match=key):
        MobileNetConfig.from_dict({k: v for k, v in CONFIG.items() if k != key})
