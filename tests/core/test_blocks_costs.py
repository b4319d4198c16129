from collections.abc import Callable

import numpy as np
import pytest

from nas.core.blocks import Block, BlockGraph, GraphBuilder, TensorSpec, block_of, chain
from nas.core.costs import (
    ClosedFormCosts,
    activation_bytes,
    macs,
    params,
    peak_live_bytes,
    reduce_blocks,
)
from nas.core.errors import InputError, SpaceError
from nas.core.space import Gene, GeneSpace
from nas.core.vocabulary import Slot, Vocabulary


def builder(*shape: int) -> GraphBuilder:
    return GraphBuilder(TensorSpec("x", shape))


def classifier() -> BlockGraph:
    g = builder(3, 8, 8)
    x = g.unary("relu", g.unary("batch_norm", g.conv2d(g.input, 16, kernel=3, stride=2)))
    x = g.conv2d(x, 16, kernel=5, groups=16)
    g.linear(g.flatten(g.global_avg_pool(x)), 10)
    return g.build()


def residual(*, activation_after: bool = False) -> BlockGraph:
    g = builder(8, 4, 4)
    x = g.conv2d(g.unary("relu", g.conv2d(g.input, 16)), 8)
    g.binary("add", g.unary("relu", x) if activation_after else x, g.input)
    return g.build()


def gated() -> BlockGraph:
    g = builder(8, 4, 4)
    squeezed = g.conv2d(g.global_avg_pool(g.input), 2, bias=True)
    gate = g.conv2d(g.unary("silu", squeezed), 8, bias=True)
    g.binary("mul", g.input, g.unary("sigmoid", gate))
    return g.build()


@pytest.mark.parametrize(("make", "expected_macs", "expected_params", "live_elements"), [
    # 3·3·3·16·4·4 + 5·5·16·4·4 + 16·10; norm 2·16; the depthwise conv holds 256 in and 256 out.
    (classifier, 6912 + 6400 + 160, 432 + 32 + 400 + 170, 512),
    # The second conv runs while the skip (128), 256 in and 128 out are alive.
    (residual, 2048 + 2048, 128 + 128, 512),
    # x (128) and the product (128) with the gate (8): squeezing needs less.
    (gated, 16 + 16, 18 + 24, 264),
])
def test_costs_by_hand(make: Callable[[], BlockGraph], expected_macs: int, expected_params: int,
                       live_elements: int) -> None:
    graph = make()
    assert macs(graph) == expected_macs
    assert params(graph) == expected_params
    assert activation_bytes(graph) == 4 * live_elements


def test_an_operator_works_in_place_only_as_the_last_reader() -> None:
    assert activation_bytes(residual(activation_after=True)) == activation_bytes(residual())
    g = builder(100)
    g.binary("add", g.unary("relu", g.input), g.input)
    assert activation_bytes(g.build()) == 4 * 300  # x is read again: relu makes a tensor
    g = builder(100)
    g.binary("mul", g.linear(g.unary("relu", g.input), 100), TensorSpec("t0", (100,)))
    assert activation_bytes(g.build()) == 4 * 300  # x is gone, t0 stays for the product


def test_peak_of_a_lone_input_and_of_a_tensor_read_twice_by_one_node() -> None:
    assert peak_live_bytes([("x", 7)], []) == 28
    assert peak_live_bytes([("x", 7)], [("add", ("x", "x"), "y", 7)]) == 56


@pytest.mark.parametrize(("side", "stride", "expected"), [(28, 2, 14), (7, 2, 4), (7, 1, 7),
                                                          (1, 2, 1)])
def test_convolutions_pad_by_half_the_kernel(side: int, stride: int, expected: int) -> None:
    g = builder(1, side, side)
    assert g.conv2d(g.input, 4, kernel=5, stride=stride).shape == (4, expected, expected)


@pytest.mark.parametrize(("make", "message"), [
    (lambda g: g.conv2d(g.input, 8, kernel=4), "must be odd"),
    (lambda g: g.conv2d(g.input, 8, groups=3), "must divide"),
    (lambda g: g.conv2d(g.input, 6, groups=4), "must divide"),
    (lambda g: g.binary("add", g.input, TensorSpec("y", (8, 4, 2))), "does not broadcast"),
    (lambda g: g.binary("add", g.input, TensorSpec("y", (8,))), "does not broadcast"),
    (lambda g: g.build().shape_of("nowhere"), "no tensor 'nowhere'"),
    (lambda _: chain([]), "no blocks"),
])
def test_graphs_that_cannot_be(make: Callable[[GraphBuilder], object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make(builder(8, 4, 4))


def conv_block(in_channels: int, out_channels: int, **options: int) -> Block:
    g = builder(in_channels, 8, 8)
    g.unary("relu", g.conv2d(g.input, out_channels, **options))
    return block_of("conv", g)


def test_keys_tell_blocks_apart() -> None:
    blocks = [conv_block(8, 8), conv_block(8, 16), conv_block(16, 8), conv_block(8, 8, kernel=3),
              conv_block(8, 8, stride=2), conv_block(8, 8, groups=8),
              conv_block(8, 8, bias=True)]
    assert len({block.key for block in blocks}) == len(blocks)
    assert conv_block(8, 8) == conv_block(8, 8)


def test_keys_tell_wirings_apart() -> None:
    keys = set()
    for skip_first in (True, False):
        g = builder(8, 4, 4)
        middle = g.conv2d(g.input, 8)
        g.binary("add", g.conv2d(middle, 8), g.input if skip_first else middle)
        keys.add(block_of("skip", g).key)
    assert len(keys) == 2


def test_a_chain_adds_up_and_peaks_where_a_block_does() -> None:
    blocks = [conv_block(3, 8), conv_block(8, 32, kernel=3), conv_block(32, 8)]
    whole = chain(blocks)
    graphs = [block.graph for block in blocks]
    assert macs(whole) == sum(map(macs, graphs))
    assert params(whole) == sum(map(params, graphs))
    assert activation_bytes(whole) == max(map(activation_bytes, graphs))
    assert whole.inputs == blocks[0].graph.inputs
    assert whole.output.shape == (8, 8, 8)
    names = [node.output.name for node in whole.nodes]
    assert len(set(names)) == len(names)


def test_a_chain_keeps_skips_within_their_block() -> None:
    g = builder(8, 4, 4)
    g.binary("add", g.conv2d(g.input, 8), g.input)
    block = block_of("skip", g)
    adds = [node for node in chain([block, block]).nodes if node.kind == "add"]
    assert [node.inputs for node in adds] == [("b0.t0", "x"), ("b1.t0", "b0.t1")]


def test_a_chain_of_blocks_that_do_not_fit_is_rejected() -> None:
    with pytest.raises(SpaceError, match=r"block 1 .* takes \(16, 8, 8\)"):
        chain([conv_block(3, 8), conv_block(16, 8)])


SPACE = GeneSpace("toy/1", (Gene("depth", (1, 2, 3)), Gene("kernel", (1, 3, 5))))
VOCABULARY = Vocabulary(SPACE, [
    Slot((), lambda: conv_block(3, 8)),
    *(Slot(("depth", "kernel"), lambda depth, kernel, least=least: (
        conv_block(8, 8, kernel=kernel) if depth >= least else None)) for least in (1, 2, 3)),
])
COSTS = ClosedFormCosts(VOCABULARY.blocks, VOCABULARY.block_ids)


@pytest.mark.parametrize(("metric", "count", "reduce"), [
    ("macs", macs, sum), ("params", params, sum), ("activation_bytes", activation_bytes, max)])
def test_predictions_are_exact(metric: str, count: Callable[[BlockGraph], int],
                               reduce: Callable[[list[int]], int]) -> None:
    codes = np.array([(d, k) for d in range(3) for k in range(3)], dtype=np.int16)
    expected = []
    for depth, kernel in codes:
        blocks = [conv_block(3, 8)]
        blocks += [conv_block(8, 8, kernel=(1, 3, 5)[kernel])] * (int(depth) + 1)
        expected.append(reduce([count(block.graph) for block in blocks]))
    estimate = COSTS.predict(metric, codes)
    assert estimate.kind == "exact"
    assert estimate.value.tolist() == expected
    assert estimate.lower.tolist() == estimate.upper.tolist() == expected
    assert len(COSTS.block_table(metric)) == len(VOCABULARY.blocks) == 4


def test_predictions_do_not_depend_on_the_batch() -> None:
    codes = SPACE.sample_codes(40_000, np.random.default_rng(0))  # more than one chunk
    values = COSTS.predict("macs", codes).value
    for row in (0, 16_383, 16_384, 39_999):
        assert COSTS.predict("macs", codes[row:row + 1]).value[0] == values[row]
    assert COSTS.predict("macs", codes[:0]).value.shape == (0,)


def test_empty_slots_cost_nothing() -> None:
    table = np.arange(1.0, 5.0)
    shallow = np.zeros((1, 2), dtype=np.int16)
    ids = VOCABULARY.block_ids(shallow)[0]
    assert ids.tolist() == [0, 1, -1, -1]
    assert reduce_blocks(table, shallow, VOCABULARY.block_ids).tolist() == [3.0]


def test_an_unknown_metric_is_an_error() -> None:
    assert dict(COSTS.metrics) == {"macs": "MAC", "params": "1", "activation_bytes": "B"}
    for call in (COSTS.block_table, lambda m: COSTS.predict(m, np.zeros((1, 2), np.int16))):
        with pytest.raises(InputError, match="no closed form of metric 'latency_ms'"):
            call("latency_ms")
