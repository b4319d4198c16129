import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from supernets.nasbench201.costs import flops, macs, params
from supernets.nasbench201.graph import EDGES, OPERATIONS, live_codes, live_edges
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.text import arch_str_of, codes_of_ops, from_arch_str, from_ops, ops_of

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "nas_benchmarks"
EVERYTHING = np.array(list(itertools.product(range(5), repeat=6)), dtype=CODE_DTYPE)

DIGITS = st.text("01234", min_size=6, max_size=6)


def features(ops: str) -> dict[str, float]:
    values = SPACE.features(codes_of_ops(ops)[None])[0].tolist()
    return dict(zip(SPACE.feature_names, values, strict=True))


def built(ops: str) -> dict[str, float]:
    values = SPACE.built_features(codes_of_ops(ops)[None])[0].tolist()
    return dict(zip(SPACE.built_feature_names, values, strict=True))


def on_a_path(code: list[int]) -> set[tuple[int, int]]:
    """Edges of all walks from node 0 that arrive at node 3, found one walk at a time."""
    edges: set[tuple[int, int]] = set()
    walks: list[list[int]] = [[0]]
    while walks:
        walk = walks.pop()
        if walk[-1] == 3:
            edges |= {(b, a) for a, b in itertools.pairwise(walk)}
        walks += [[*walk, target] for operation, (target, source) in zip(code, EDGES, strict=True)
                  if source == walk[-1] and OPERATIONS[operation] != "none"]
    return edges


def test_space_has_the_published_size_and_every_code_is_canonical() -> None:
    assert SPACE.size == len(EVERYTHING) == 15_625
    assert (SPACE.canonical_codes(EVERYTHING) == EVERYTHING).all()


def test_mutation_and_crossover_stay_in_the_space() -> None:
    rng = np.random.default_rng(0)
    a, b = SPACE.decode(SPACE.sample_codes(2, rng))
    for _ in range(20):
        a, b = SPACE.mutate(b, rng, 0.2), SPACE.crossover(a, b, rng)
        assert Arch.from_json(a.to_json(), space=SPACE) == a
        assert Arch.from_json(b.to_json(), space=SPACE) == b


def test_extremes_are_the_largest_and_the_smallest_network() -> None:
    smallest, largest = (SPACE.encode([SPACE.extreme(largest=big)]) for big in (False, True))
    for count in (params, macs, flops):
        assert count(smallest)[0] == count(EVERYTHING).min()
        assert count(largest)[0] == count(EVERYTHING).max()


@given(DIGITS)
def test_texts_round_trip(ops: str) -> None:
    arch = from_ops(ops)
    assert ops_of(arch) == ops
    assert from_arch_str(arch_str_of(arch)) == arch


def test_both_texts_of_the_benchmarks_first_architecture() -> None:
    text = ("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
            "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|")
    arch = from_ops("421211")
    assert from_arch_str(text) == arch
    assert arch_str_of(arch) == text
    assert arch == make_arch(SPACE, {
        "1<-0": "avg_pool_3x3", "2<-0": "nor_conv_1x1", "2<-1": "skip_connect",
        "3<-0": "nor_conv_1x1", "3<-1": "skip_connect", "3<-2": "skip_connect"})


@pytest.mark.parametrize("ops", ["", "42121", "4212111", "421215", "42121x", "４21211", " 421211"])
def test_digits_that_are_no_cell_are_an_error(ops: str) -> None:
    with pytest.raises(ArchError, match="write 6 digits 0 … 4"):
        from_ops(ops)


@pytest.mark.parametrize(("text", "message"), [
    ("", "write it like"),
    ("none~0", "write it like"),
    ("|none~0|+|none~0|none~1|", "does not list the edges"),
    ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "does not list the edges"),
    ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|", "does not list the edges"),
    ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "does not list the edges"),
    ("|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv~2|", "unknown operation 'sep_conv'"),
])
def test_notation_that_is_no_cell_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        from_arch_str(text)


def test_architecture_of_another_space_is_an_error() -> None:
    other = Arch("other/1", from_ops("421211").choices)
    for write in (ops_of, arch_str_of):
        with pytest.raises(ArchError, match="of space 'other/1'"):
            write(other)


def test_live_edges_are_those_that_a_walk_to_the_output_takes() -> None:
    some = EVERYTHING[np.random.default_rng(0).choice(len(EVERYTHING), 2000, replace=False)]
    expected = [[edge in on_a_path(code) for edge in EDGES] for code in some.tolist()]
    assert (live_edges(some) == np.array(expected)).all()


def test_networks_with_one_live_graph_have_one_set_of_live_features() -> None:
    live = live_codes(EVERYTHING)
    assert (live != EVERYTHING).any()
    assert (live_codes(live) == live).all()
    seen, masked = SPACE.features(EVERYTHING), SPACE.features(live)
    assert (seen == masked).all()
    assert len(np.unique(seen, axis=0)) == len(np.unique(live, axis=0))


def test_built_features_count_dead_edges_too() -> None:
    live = len(SPACE.feature_names)
    assert SPACE.built_feature_names[:live] == SPACE.feature_names
    whole, masked = (SPACE.built_features(codes) for codes in (EVERYTHING, live_codes(EVERYTHING)))
    assert (whole[:, :live] == SPACE.features(EVERYTHING)).all()
    assert (whole[:, live:] >= masked[:, live:]).all()
    assert (whole[:, live:] > masked[:, live:]).any()


@pytest.mark.parametrize(("values", "names"), [
    (SPACE.features(EVERYTHING), SPACE.feature_names),
    (SPACE.built_features(EVERYTHING), SPACE.built_feature_names)])
def test_features_are_finite_and_named(values: FloatArray, names: Sequence[str]) -> None:
    assert values.shape == (15_625, len(names))
    assert len(set(names)) == len(names)
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0).all()


def test_features_of_a_cell_by_hand() -> None:
    # 1←0 conv 3×3, 2←0 pool, 2←1 conv 1×1, 3←0 none, 3←1 skip, 3←2 conv 3×3.
    seen = features("342013")
    assert [seen[f"paths of {length} edges"] for length in (1, 2, 3)] == [0, 2, 1]
    assert seen["connected"] == 1
    assert (seen["deepest path"], seen["shallowest path"]) == (3, 1)
    assert seen["deepest path in conv 3x3"] == 2
    assert (seen["live nor_conv_3x3"], seen["live convolutions"]) == (2, 3)
    on_device = built("342013")
    assert (on_device["built nor_conv_3x3"], on_device["built avg_pool_3x3"]) == (2, 1)


def test_features_of_a_cell_without_a_path() -> None:
    seen = features("333000")
    assert seen["connected"] == seen["deepest path"] == seen["shallowest path"] == 0
    assert seen["live params"] == features("000000")["live params"]
    assert seen["live nor_conv_3x3"] == 0
    assert built("333000")["built nor_conv_3x3"] == 3
    assert built("333000")["built params"] == built("000333")["built params"]
    # A path of skips alone has depth 0 too, and is told apart.
    assert features("000100")["connected"] == 1
    assert features("000100")["shallowest path"] == 0


def test_sizes_are_the_published_closed_forms() -> None:
    n_1, n_3, pools = ((k == EVERYTHING).sum(axis=1) for k in (2, 3, 4))
    million = 0.073306 + 0.24304 * n_3 + 0.028 * n_1
    assert (params(EVERYTHING) == np.round(1e6 * million)).all()
    million = 7.943872 + 35.81952 * n_3 + 4.36224 * n_1 + 1.29024 * pools
    assert (flops(EVERYTHING) == np.round(1e6 * million)).all()


def test_sizes_are_those_of_the_published_scores() -> None:
    path = SHARED / "nasbench201_cifar10_published_proxies.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} lies outside the repository")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    codes: IntArray = np.stack([codes_of_ops(row["ops"]) for row in rows])
    for name, counted in (("params", params(codes)), ("flops", flops(codes))):
        published = np.array([float(row[name]) for row in rows])  # in millions, 7 digits
        np.testing.assert_allclose(counted / 1e6, published, rtol=1e-6)
