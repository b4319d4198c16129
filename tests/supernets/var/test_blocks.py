"""Blocks of generation: their costs are those of what is really run, in torch."""

import dataclasses
import functools
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from var_nets import SMALL, SMALL_VAE, small_net, small_vae

from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.profile import Runtime
from hardware_profiles.session import Model, open_session
from nas.core.arch import Arch
from nas.core.blocks import chain
from nas.core.costs import ClosedFormCosts
from nas.core.errors import InputError, SpaceError
from nas.core.protocols import Task
from nas.core.rng import derive_rng
from nas.core.vocabulary import Vocabulary
from nas.pipeline.design import load_design
from supernets.registry import SUPERNETS
from supernets.var.blocks import build_vocabulary, planned
from supernets.var.config import VarConfig
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.presets import FMNIST, VAE_256
from supernets.var.sampling import Sampling
from supernets.var.space import build_space, full_arch, plan, variant_arch

SHARED = dataclasses.replace(SMALL, shared_adaln=True)
UNGUIDED = dataclasses.replace(SMALL, cond_drop=0.0)
SOME_BRIDGES = dataclasses.replace(SMALL, bridges=(2, 3))


@functools.cache
def _vocabulary(config: VarConfig) -> Vocabulary:
    return build_vocabulary(config, SMALL_VAE, build_space(config))


def _archs(config: VarConfig, n: int = 6) -> list[Arch]:
    space = build_space(config)
    return [space.extreme(largest=True), space.extreme(largest=False),
            *space.decode(space.sample_codes(n, derive_rng(0, "archs")))]


def _differs(config: VarConfig) -> int:
    # Multiply-adds of what blocks do otherwise than torch: the upsampling and the pooling as
    # matrices, and the conditioning that layers share found at each scale, not once an image.
    *inner, last = [side * side for side in config.patch_nums]
    matrices = config.code_dim * last * (sum(inner) + sum(inner[1:]))
    shared = 6 * config.width**2 * config.rows * (config.scales - 1)
    return matrices + (shared if config.shared_adaln else 0)


@pytest.mark.parametrize("config", [SMALL, SHARED, UNGUIDED])
def test_multiply_adds_are_those_of_an_image_that_is_generated(config: VarConfig) -> None:
    net, vae, vocabulary = small_net(config), small_vae(), _vocabulary(config)
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    sampling = Sampling(guidance=1.5 if config.cond_drop else 0.0)
    for arch in _archs(config)[1:3]:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            generate(net, vae, torch.tensor([1]), arch, sampling=sampling, seed=0)
        found = costs.predict("macs", net.space.encode([arch])).value[0]
        assert found == counted.get_total_flops() / 2 + _differs(config)


@pytest.mark.parametrize("config", [SMALL, SHARED])
def test_parameters_are_those_of_the_extracted_network(config: VarConfig) -> None:
    supernet = ImageSupernet(small_net(config), small_vae(), cast(Task, None))
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    for arch in _archs(config)[:3]:
        network = supernet.extract(arch)
        found = costs.predict("params", supernet.space.encode([arch])).value[0]
        assert found == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("config", [SMALL, SOME_BRIDGES])
def test_an_architecture_has_a_block_for_each_layer_that_a_scale_runs(config: VarConfig) -> None:
    space, vocabulary = build_space(config), _vocabulary(config)
    for arch in _archs(config):
        blocks = [vocabulary.blocks[index] for index in
                  vocabulary.block_ids(space.encode([arch]))[0] if index >= 0]
        kinds = [block.key.partition("|")[0] for block in blocks]
        expected = ["var_start"]
        for scale, layers in enumerate(plan(config, arch).layers, start=1):
            expected += [f"var_layer{scale}"] * len(layers)
            expected.append(f"var_next{scale + 1}" if scale < config.scales else "var_image")
        assert kinds == expected
        graph = chain(blocks)
        assert graph.inputs[0].shape == (config.rows, config.width)
        assert graph.output.shape == (1, SMALL_VAE.image_size, SMALL_VAE.image_size)


def test_a_layer_is_one_block_at_a_scale_whatever_its_index() -> None:
    vocabulary = _vocabulary(SMALL)
    # Start, a layer at each scale, and what comes after it.
    assert len(vocabulary.blocks) == 1 + 2 * SMALL.scales
    shared = _vocabulary(SHARED)  # whose first layer finds the conditioning of all
    assert len(shared.blocks) == 1 + 3 * SMALL.scales


def test_blocks_run_in_onnx_runtime_as_one_network() -> None:
    space, vocabulary = build_space(SHARED), _vocabulary(SHARED)
    ids = vocabulary.block_ids(space.encode([space.extreme(largest=False)]))[0]
    graph = chain([vocabulary.blocks[index] for index in ids if index >= 0])
    for batch in (1, 2):
        model = onnx_model(graph, batch=batch, rng=np.random.default_rng(0))
        onnx.checker.check_model(model, full_check=True)
        session = open_session(Model("test", model.SerializeToString()), Runtime(version="any"))
        x = np.ones((batch, 2, SMALL.width), np.float32)
        image, = session.run(None, {model.graph.input[0].name: x})
        assert image.shape == (batch, 1, 24, 24)
        assert np.isfinite(image).all()


def test_a_preset_is_planned_without_weights() -> None:
    space, vocabulary = planned(FMNIST)
    assert space.id == "var-fmnist/1"
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    full = costs.predict("macs", space.encode([full_arch(FMNIST)])).value[0]
    few = costs.predict("macs", space.encode([variant_arch(FMNIST, bridge=3, depth=2)])).value[0]
    assert few < full / 2


def test_a_config_without_a_known_vqvae_and_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"small/1 is none of .*: give a folder"):
        planned(SMALL)
    with pytest.raises(InputError, match="--resolution 64: var-fmnist/1 makes images of one size"):
        planned(FMNIST, resolution=64)
    with pytest.raises(InputError, match=r"--seconds 2 is for supernets of speech"):
        planned(FMNIST, seconds=2.0)
    with pytest.raises(SpaceError, match="give the VQVAE that it was trained with"):
        build_vocabulary(SMALL, VAE_256, build_space(SMALL))


@pytest.mark.parametrize(("name", "millions"), [("var-d16", 310.3), ("var-d30", 2010)])
def test_published_sizes_are_planned_without_weights(name: str, millions: float) -> None:
    design = load_design(name)
    costs = ClosedFormCosts(design.vocabulary, design.block_ids)
    whole = design.space.encode([design.space.extreme(largest=True)])
    # That of the reference is the transformer's; the quantiser's codes have 0.2 more.
    assert costs.predict("params", whole).value[0] / 1e6 == pytest.approx(millions, rel=1e-3)
    factory = SUPERNETS.get(name).resolve()
    with pytest.raises(InputError, match=f"{name} has no weights yet; train it: nas train"):
        factory(device=torch.device("cpu"))
