import numpy as np
import pytest

from nas.core.blocks import chain
from nas.core.costs import ClosedFormCosts, macs, params
from nas.core.errors import SpaceError
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space, rounded_width
from supernets.mobilenet.ofa import head, inverted_residual, ofa_mobilenet_v3, stem, table_key

# MobileNetV3-Large: kernel, expanded channels, output, squeeze-and-excite, activation, stride
# (Howard et al. 2019, table 1).
LARGE = ((3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2),
         (3, 72, 24, False, "relu", 1), (5, 72, 40, True, "relu", 2),
         (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
         (3, 240, 80, False, "hard_swish", 2), (3, 200, 80, False, "hard_swish", 1),
         (3, 184, 80, False, "hard_swish", 1), (3, 184, 80, False, "hard_swish", 1),
         (3, 480, 112, True, "hard_swish", 1), (3, 672, 112, True, "hard_swish", 1),
         (5, 672, 160, True, "hard_swish", 2), (5, 960, 160, True, "hard_swish", 1),
         (5, 960, 160, True, "hard_swish", 1))


def test_the_blocks_count_what_is_published_of_mobilenetv3_large():
    """219 M multiply-adds and 5.4 M parameters (Howard et al. 2019, table 3)."""
    blocks = [stem(224, 16)]
    for kernel, mid, out, se, activation, stride in LARGE:
        blocks.append(inverted_residual(blocks[-1].graph.output.shape, out=out, mid=mid,
                                        kernel=kernel, stride=stride, se=se,
                                        activation=activation))
    blocks += head(blocks[-1].graph.output.shape, expanded=960, mixed=1280)
    graph = chain(blocks)
    assert macs(graph) == pytest.approx(219e6, rel=0.015)
    assert params(graph) == pytest.approx(5.4e6, rel=0.02)


def test_size_and_weights_are_those_of_once_for_all():
    """Some 2·10^19 networks and 7.7 M parameters at width 1 (Cai et al. 2020, §3.1)."""
    parts = ofa_mobilenet_v3(width=1.0)
    assert parts.space.size == (9**2 + 9**3 + 9**4) ** 5
    largest = parts.space.encode([parts.space.extreme(largest=True)])
    costs = ClosedFormCosts(parts.vocabulary, parts.block_ids)
    assert costs.predict("params", largest).value[0] == pytest.approx(7.7e6, rel=0.01)


@pytest.mark.parametrize("resolution", [160, 196, 224])
def test_every_network_is_one_chain_of_its_blocks(resolution):
    parts = ofa_mobilenet_v3(resolution=resolution)
    codes = parts.space.sample_codes(20, np.random.default_rng(0))
    total = ClosedFormCosts(parts.vocabulary, parts.block_ids).predict("macs", codes).value
    for row, ids in enumerate(parts.block_ids(codes)):
        graph = chain([parts.vocabulary[i] for i in ids if i >= 0])
        assert graph.output.shape == (1000,)
        assert macs(graph) == total[row]


def test_each_block_has_a_key_of_its_own():
    parts = ofa_mobilenet_v3()
    keys = {parts.table_key(block) for block in parts.vocabulary}
    assert len(keys) == len(parts.vocabulary) == 96
    assert ("expanded_conv-input:56x56x32-output:28x28x48-expand:192-kernel:5-stride:2-idskip:0"
            "-se:1-hs:0") in keys


def test_widths_follow_the_multiplier():
    assert [rounded_width(channels * 1.2) for channels in (16, 24, 40, 80, 112, 160, 960, 1280)
            ] == [24, 32, 48, 96, 136, 192, 1152, 1536]


@pytest.mark.parametrize("options", [{"resolution": 222}, {"resolution": 16}, {"width": 0.0}])
def test_what_is_no_such_space_is_an_error(options):
    with pytest.raises(SpaceError, match="a multiple of 4"):
        ofa_mobilenet_v3(**options)


def test_a_block_of_another_space_has_no_key(tiny_config):
    other = build_vocabulary(tiny_config, build_space(tiny_config)).blocks[-1]
    with pytest.raises(SpaceError, match="not of once-for-all"):
        table_key(other)
