from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nas.core.blocks import (
    Block,
    BlockGraph,
    GraphBuilder,
    OpSpec,
    TensorSpec,
    block_of,
    chain,
    keyed,
)
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


def test_keys_are_what_stored_profiles_say() -> None:
    assert keyed("se", gated()).key == (
        "se|8x4x4|global_avg_pool|conv2d2k1s1g1b|silu|conv2d8k1s1g1b|sigmoid|mul(x,t4)")
    assert keyed("net", classifier()).key == (
        "net|3x8x8|conv2d16k3s2g1|batch_norm|relu|conv2d16k5s1g16|global_avg_pool|flatten"
        "|linear10k1s1g1b")


def graph_of(shape: tuple[int, ...], *nodes: OpSpec) -> BlockGraph:
    return BlockGraph((TensorSpec("x", shape),), nodes)


def op(kind: str, source: str, name: str, shape: tuple[int, ...], **options: object) -> OpSpec:
    return OpSpec(kind, (source,), TensorSpec(name, shape), **options)


def test_keys_tell_settings_apart() -> None:
    plain = op("conv2d", "x", "y", (8, 4, 4), kernel=3)
    others = [replace(plain, attributes=(("padding", (0, 0)),)),
              replace(plain, attributes=(("padding", (0, 1)),)),
              replace(plain, attributes=(("dilation", 2),)),
              replace(plain, kind="max_pool"), replace(plain, kind="max_pool", kernel=2),
              replace(plain, kind="max_pool", attributes=(("ceil", 1),)),
              replace(plain, kind="layer_norm", kernel=1),
              replace(plain, kind="layer_norm", kernel=1, bias=True),
              replace(plain, kind="shift", attributes=(("shape", (8, 4, 4)), ("params", 128))),
              replace(plain, kind="shift", attributes=(("shape", (8, 1, 1)), ("params", 8)))]
    keys = {keyed("k", graph_of((8, 4, 4), node)).key for node in (plain, *others)}
    assert len(keys) == 11


@pytest.mark.parametrize(("node", "source", "expected_macs", "expected_params"), [
    (op("linear", "x", "y", (5, 6), bias=True), (5, 4), 5 * 4 * 6, 4 * 6 + 6),
    (op("linear", "x", "y", (5, 6)), (5, 4), 5 * 4 * 6, 4 * 6),
    (op("conv1d", "x", "y", (6, 9), kernel=3, groups=2, bias=True), (4, 9), 6 * 9 * 2 * 3,
     6 * 2 * 3 + 6),
    (op("matmul", "x", "y", (2, 5, 5)), (2, 5, 4), 2 * 5 * 5 * 4, 0),
    (op("matmul", "x", "y", (2, 3, 7), attributes=(("left", (1, 2, 3, 4)), ("params", 24))),
     (2, 4, 7), 2 * 3 * 7 * 4, 24),
    (op("layer_norm", "x", "y", (5, 4), bias=True), (5, 4), 0, 8),
    (op("layer_norm", "x", "y", (5, 4)), (5, 4), 0, 4),
    (op("rms_norm", "x", "y", (5, 4)), (5, 4), 0, 4),
    (op("group_norm", "x", "y", (4, 5, 5), groups=2), (4, 5, 5), 0, 8),
    (op("layer_norm", "x", "y", (5, 4), attributes=(("params", 0),)), (5, 4), 0, 0),
    (op("prepend", "x", "y", (6, 4), attributes=(("params", 4),)), (5, 4), 0, 4),
    (op("softmax", "x", "y", (5, 4)), (5, 4), 0, 0),
])
def test_costs_of_single_operators(node: OpSpec, source: tuple[int, ...], expected_macs: int,
                                   expected_params: int) -> None:
    graph = graph_of(source, node)
    assert (macs(graph), params(graph)) == (expected_macs, expected_params)
    assert params(chain([keyed("a", graph)])) == expected_params  # attributes go along


def test_an_attribute_that_is_missing_is_an_error() -> None:
    node = op("softmax", "x", "y", (4,), attributes=(("axis", 1),))
    assert node.attribute("axis") == 1
    assert node.attribute("value", 0) == 0
    with pytest.raises(SpaceError, match=r"'softmax' \(y\) lacks its attribute 'value'"):
        node.attribute("value")


def test_a_view_keeps_its_tensor_alive_and_makes_none() -> None:
    split = [op("linear", "x", "qkv", (30,)), op("reshape", "qkv", "parts", (3, 10)),
             op("select", "parts", "q", (10,)), op("select", "parts", "k", (10,))]
    product = OpSpec("mul", ("q", "k"), TensorSpec("y", (10,)))
    # Both halves show the 30; the product is made while they are alive, x is gone.
    assert activation_bytes(graph_of((2,), *split, product)) == 4 * (30 + 10)
    # In place on one half only if nobody reads the other.
    scaled = op("mul_scalar", "q", "s", (10,), attributes=(("value", 2.0),))
    last = OpSpec("mul", ("s", "k"), TensorSpec("y", (10,)))
    assert activation_bytes(graph_of((2,), *split, scaled, last)) == 4 * (30 + 10 + 10)
    assert activation_bytes(graph_of((2,), *split, scaled)) == 4 * (30 + 2)


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
