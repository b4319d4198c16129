import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.blocks import Block, chain
from nas.core.costs import ClosedFormCosts, activation_bytes, macs, params
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.mobilenet.blocks import (
    build_vocabulary,
    head_block,
    inverted_residual_block,
    stem_block,
)
from supernets.mobilenet.config import MobileNetConfig, StageConfig, build_space, plan
from supernets.mobilenet.presets import FMNIST

SMALL = MobileNetConfig(
    name="small/1", input_shape=(3, 17, 11), num_classes=5, stem_width=8, head_width=16,
    activation="silu", stages=(
        StageConfig(widths=(8, 12), depths=(1, 2), kernels=(3, 5), expansions=(1, 2)),
        StageConfig(widths=(12, 20), depths=(2, 4), kernels=(3,), expansions=(2, 3), stride=2,
                    se_ratio=0.5),
    ))


def blocks_of(config: MobileNetConfig, arch: Arch) -> list[Block]:
    """One architecture's blocks, built one after the other from the plan."""
    blocks = [stem_block(config)]
    for block in plan(config, arch):
        sides = blocks[-1].graph.output.shape[1:]
        blocks.append(inverted_residual_block(block, (sides[0], sides[1]), config.activation))
    width, *sides = blocks[-1].graph.output.shape
    return [*blocks, head_block(config, (sides[0], sides[1]), width)]


@pytest.fixture(scope="module", params=[SMALL, FMNIST], ids=lambda config: config.name)
def family(request: pytest.FixtureRequest) -> tuple[MobileNetConfig, GeneSpace, Vocabulary]:
    config: MobileNetConfig = request.param
    space = build_space(config)
    return config, space, build_vocabulary(config, space)


Family = tuple[MobileNetConfig, GeneSpace, Vocabulary]


def test_ids_are_those_of_a_slow_construction(family: Family) -> None:
    config, space, vocabulary = family
    codes = space.sample_codes(60, np.random.default_rng(0))
    ids = vocabulary.block_ids(codes)
    assert ids.shape == (60, 2 + sum(stage.depths[-1] for stage in config.stages))
    for arch, row in zip(space.decode(codes), ids, strict=True):
        found = [vocabulary.blocks[index].key for index in row if index >= 0]
        assert found == [block.key for block in blocks_of(config, arch)]


def test_costs_are_those_of_the_whole_graph(family: Family) -> None:
    config, space, vocabulary = family
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(60, np.random.default_rng(1))
    wholes = [chain(blocks_of(config, arch)) for arch in space.decode(codes)]
    for metric, count in (("macs", macs), ("params", params),
                          ("activation_bytes", activation_bytes)):
        assert costs.predict(metric, codes).value.tolist() == [count(graph) for graph in wholes]


def test_dead_genes_do_not_matter(family: Family) -> None:
    _, space, vocabulary = family
    rng = np.random.default_rng(2)
    codes = rng.integers(0, space.cardinalities, (500, len(space.genes))).astype(np.int16)
    assert (codes != space.canonical_codes(codes)).any()
    np.testing.assert_array_equal(vocabulary.block_ids(codes),
                                  vocabulary.block_ids(space.canonical_codes(codes)))


def test_blocks_are_distinct_and_all_reachable(family: Family) -> None:
    _, space, vocabulary = family
    keys = [block.key for block in vocabulary.blocks]
    assert len(set(keys)) == len(keys)
    seen = vocabulary.block_ids(space.sample_codes(20_000, np.random.default_rng(3)))
    assert set(np.unique(seen)) - {-1} == set(range(len(keys)))


def test_the_order_of_the_vocabulary_is_fixed(family: Family) -> None:
    config, space, vocabulary = family
    again = build_vocabulary(config, space)
    assert [block.key for block in again.blocks] == [block.key for block in vocabulary.blocks]
    assert vocabulary.blocks[0] == stem_block(config)


def test_the_shipped_space_is_large_enough() -> None:
    space = build_space(FMNIST)
    assert space.size == 3_042_748_800
