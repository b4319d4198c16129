"""Features of blocks: counted by hand, additive, and the same on the torch module."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hardware_profiles.features import feature_matrix, graph_features
from nas.core.blocks import Block, GraphBuilder, TensorSpec, block_of, chain
from nas.core.costs import macs
from nas.core.errors import ProfileError
from supernets.mobilenet.supernet import MobileNetSupernet


def squeeze_excite() -> Block:
    builder = GraphBuilder(TensorSpec("x", (8, 6, 6)))
    x = builder.unary("relu", builder.unary("batch_norm", builder.conv2d(builder.input, 16)))
    x = builder.conv2d(x, 16, kernel=3, stride=2, groups=16)
    gate = builder.conv2d(builder.global_avg_pool(x), 16, bias=True)
    builder.binary("mul", x, builder.unary("sigmoid", gate))
    return block_of("se", builder)


def test_features_of_a_block_are_those_counted_by_hand():
    assert graph_features(squeeze_excite().graph) == {
        "kernels:pw": 2, "macs:pw": 36 * 8 * 16 + 16 * 16,
        "elems:pw": (36 * 8 + 36 * 16 + 8 * 16) + (16 + 16 + 16 * 16 + 16),
        "kernels:dw": 1, "macs:dw": 9 * 16 * 9, "elems:dw": 36 * 16 + 9 * 16 + 16 * 9,
        "kernels:pool": 1, "elems:pool": 9 * 16 + 16,
        "kernels:act": 1, "elems:act": 32,
        "kernels:mul": 1, "elems:mul": 9 * 16 + 16 + 9 * 16,
    }


def test_features_of_a_network_are_the_sums_over_its_blocks(space, vocabulary):
    names = ["blocks", *sorted({name for block in vocabulary.blocks
                                for name in graph_features(block.graph)})]
    matrix = feature_matrix(names, vocabulary.blocks)
    for slots in vocabulary.block_ids(space.sample_codes(20, np.random.default_rng(0))):
        blocks = [vocabulary.blocks[index] for index in slots if index >= 0]
        whole = graph_features(chain(blocks))
        summed = dict(zip(names, matrix[slots[slots >= 0]].sum(axis=0), strict=True))
        assert summed.pop("blocks") == len(blocks)
        assert {name: value for name, value in summed.items() if value} == whole
        assert sum(value for name, value in whole.items() if name.startswith("macs:")) == macs(
            chain(blocks))


def test_an_unknown_feature_is_an_error(vocabulary):
    with pytest.raises(ProfileError, match="no feature is called 'flops:conv'"):
        feature_matrix(["flops:conv"], vocabulary.blocks)


def test_the_counter_of_torch_modules_finds_the_same(config, space, vocabulary):
    net = MobileNetSupernet(config, task=None)
    for arch in space.decode(space.sample_codes(5, np.random.default_rng(1))):
        slots = vocabulary.block_ids(space.encode([arch]))[0]
        expected = graph_features(chain([vocabulary.blocks[i] for i in slots if i >= 0]))
        module = net.extract(arch)
        assert load_script("_trace").traced_features(lambda m=module: m, (1, 8, 8)) == expected


def load_script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
