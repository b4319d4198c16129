import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from space_strategies import SEEDS, spaces

from nas.core.arch import Arch, Value, make_arch
from nas.core.errors import ArchError, InputError, SpaceError
from nas.core.ops import invert
from nas.core.space import Condition, Gene, GeneSpace

NESTED = GeneSpace("nested/1", (
    Gene("stages", (1, 2, 3)),
    Gene("depth", (1, 2), Condition("stages", (2, 3))),
    Gene("kernel", (3, 5, 7), Condition("depth", (2,))),
    Gene("se", ("no", "yes"), Condition("stages", (3,))),
    Gene("width", (8, 16)),
))


def live_genes(space: GeneSpace, values: dict[str, Value]) -> set[str]:
    """The rule as it is written down, gene by gene: the reference of the vectorised one."""
    live: set[str] = set()
    for gene in space.genes:
        condition = gene.condition
        if condition is None or (condition.parent in live
                                 and values[condition.parent] in condition.values):
            live.add(gene.name)
    return live


def every_code(space: GeneSpace) -> np.ndarray:
    return np.array(list(itertools.product(*(range(len(g.choices)) for g in space.genes))),
                    dtype=np.int16)


def brute_force(space: GeneSpace) -> set[tuple[Value | None, ...]]:
    networks = set()
    for values in itertools.product(*(gene.choices for gene in space.genes)):
        named = dict(zip((gene.name for gene in space.genes), values, strict=True))
        live = live_genes(space, named)
        networks.add(tuple(value if name in live else None for name, value in named.items()))
    return networks


@given(space=spaces())
@settings(max_examples=60, deadline=None)
def test_size_is_the_number_of_networks(space: GeneSpace) -> None:
    expected = len(brute_force(space))
    assert space.size == expected
    assert len(np.unique(space.canonical_codes(every_code(space)), axis=0)) == expected


def test_size_of_nested_conditions_by_hand() -> None:
    assert NESTED.size == 2 * (1 + 4 + 4 * 2)


def test_size_of_a_long_chain_of_conditions_is_immediate_and_exact() -> None:
    genes = [Gene("g0", (0, 1, 2))]
    genes += [Gene(f"g{i}", (0, 1, 2), Condition(f"g{i - 1}", (0, 1, 2))) for i in range(1, 1500)]
    assert GeneSpace("chain/1", tuple(genes)).size == 3**1500


@given(space=spaces())
@settings(max_examples=30, deadline=None)
def test_active_genes_are_those_of_the_rule(space: GeneSpace) -> None:
    codes = every_code(space)
    for arch, live in zip(space.decode(codes), space.active(codes), strict=True):
        names = {gene.name for gene, is_live in zip(space.genes, live, strict=True) if is_live}
        assert names == live_genes(space, arch.as_dict())


@given(space=spaces(), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_canonical_is_idempotent_and_changes_dead_genes_alone(space: GeneSpace, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, space.cardinalities, (8, len(space.genes)))
    once = space.canonical_codes(codes)
    np.testing.assert_array_equal(space.canonical_codes(once), once)
    np.testing.assert_array_equal(space.active(once), space.active(codes))
    live = space.active(codes)
    np.testing.assert_array_equal(once[live], codes[live])
    assert not once[~live].any()


@given(space=spaces())
@settings(max_examples=40, deadline=None)
def test_canonical_forms_are_equal_exactly_where_the_networks_are(space: GeneSpace) -> None:
    # A network is what its live genes say; the rule written down gene by gene is the reference.
    codes = every_code(space)
    networks: dict[frozenset[tuple[str, Value]], set[str]] = {}
    for arch in space.decode(codes):
        values = arch.as_dict()
        network = frozenset((name, values[name]) for name in live_genes(space, values))
        canonical = space.canonical(arch)
        assert space.canonical(canonical) == canonical
        assert make_arch(space, values) == canonical
        networks.setdefault(network, set()).add(canonical.digest)
    assert all(len(digests) == 1 for digests in networks.values())
    assert len(set.union(*networks.values())) == len(networks) == space.size


@given(space=spaces(), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_features_tell_networks_apart_and_nothing_else(space: GeneSpace, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, space.cardinalities, (12, len(space.genes)))
    features, canonical = space.features(codes), space.canonical_codes(codes)
    assert len(np.unique(features, axis=0)) == len(np.unique(canonical, axis=0))
    np.testing.assert_array_equal(features, space.features(canonical))


@given(space=spaces(), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_decode_is_the_inverse_of_encode(space: GeneSpace, seed: int) -> None:
    codes = space.sample_codes(6, np.random.default_rng(seed))
    archs = space.decode(codes)
    np.testing.assert_array_equal(space.encode(archs), codes)
    assert [space.canonical(arch) for arch in archs] == archs


@given(space=spaces(), seed=SEEDS, rate=st.sampled_from([0.0, 0.2, 1.0]))
@settings(max_examples=80, deadline=None)
def test_mutation_stays_in_the_space_and_differs(space: GeneSpace, seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    child = space.mutate(arch, rng, rate)
    assert space.canonical(child) == child
    code, changed = space.encode([arch]), space.encode([child])
    movable = space.active(code)[0] & (space.cardinalities > 1)
    if not movable.any():
        assert child == arch
        return
    moved = (code != changed)[0] & space.active(code)[0]
    assert (moved & movable).any()
    if rate == 0.0:
        # One live gene; others change only by coming to life or dying with it.
        still_live = space.active(changed)[0]
        assert (moved & still_live).sum() == 1
    if rate == 1.0:
        assert moved[movable & space.active(changed)[0]].all()


@given(space=spaces(), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_crossover_takes_each_gene_from_a_parent(space: GeneSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    child = space.crossover(a, b, rng)
    assert space.canonical(child) == child
    codes = space.encode([a, b, child])
    live = space.active(codes)[2]
    assert ((codes[2] == codes[0]) | (codes[2] == codes[1]))[live].all()
    assert space.crossover(a, a, rng) == a


@given(space=spaces(), seed=SEEDS, steps=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_any_chain_of_operators_stays_canonical(space: GeneSpace, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    for _ in range(steps):
        children = (space.mutate(a, rng, 0.3), space.crossover(a, b, rng), invert(space, a, rng))
        a, b = children[rng.integers(len(children))], a
        assert space.canonical(a) == a
        assert space.decode(space.encode([a])) == [a]


@given(space=spaces(), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_inversion_keeps_the_values_of_live_genes(space: GeneSpace, seed: int) -> None:
    # Where no condition hangs on a moved gene the same genes live on, with the same values.
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    codes = space.encode([arch, invert(space, arch, rng)])
    live = space.active(codes)
    if (live[0] == live[1]).all():
        assert sorted(codes[0, live[0]].tolist()) == sorted(codes[1, live[1]].tolist())


def test_crossover_mixes_both_parents() -> None:
    space = GeneSpace("flat/1", tuple(Gene(f"g{i}", (0, 1)) for i in range(12)))
    child = space.encode([space.crossover(
        space.extreme(largest=True), space.extreme(largest=False), np.random.default_rng(0))])
    assert 0 < child.sum() < 12


def test_sampling_is_uniform_over_each_genes_choices() -> None:
    codes = NESTED.sample_codes(30_000, np.random.default_rng(0))
    live = NESTED.active(codes)
    for column, gene in enumerate(NESTED.genes):
        counts = np.bincount(codes[live[:, column], column], minlength=len(gene.choices))
        assert chisquare(counts).pvalue > 1e-3, gene.name
    assert not codes[~live].any()


def test_sampling_never_leaves_the_choices() -> None:
    space = GeneSpace("odd/1", tuple(Gene(f"g{i}", tuple(range(n)))
                                     for i, n in enumerate((1, 3, 7, 1000, 32_767))))
    codes = space.sample_codes(200_000, np.random.default_rng(3))
    assert codes.min() >= 0
    assert (codes < space.cardinalities).all()
    assert (codes.max(axis=0)[:3] == (0, 2, 6)).all()


def test_the_same_seed_gives_the_same_architectures() -> None:
    draws = [[NESTED.sample(np.random.default_rng(5)).digest for _ in range(2)] for _ in range(2)]
    assert draws[0] == draws[1]


def test_features_are_the_one_hot_code_of_live_genes_and_their_numbers() -> None:
    codes = every_code(NESTED)
    features = NESTED.features(codes)
    one_hot = 3 + 2 + 3 + 2 + 2
    numbers = [gene for gene in NESTED.genes
               if len(gene.choices) > 2 and not isinstance(gene.choices[0], str)]
    assert features.shape == (len(codes), one_hot + len(numbers))
    np.testing.assert_array_equal(features[:, :one_hot].sum(axis=1),
                                  NESTED.active(codes).sum(axis=1))
    for column, gene in enumerate(numbers, start=one_hot):
        shares = {value / max(gene.choices) for value in gene.choices}
        assert set(features[:, column]) <= shares | {0.0}
        assert shares <= set(features[:, column])
    canonical = NESTED.features(NESTED.canonical_codes(codes))
    np.testing.assert_array_equal(features, canonical)
    assert len(np.unique(features, axis=0)) == NESTED.size


def test_extremes() -> None:
    assert NESTED.extreme(largest=True).as_dict() == {
        "stages": 3, "depth": 2, "kernel": 7, "se": "yes", "width": 16}
    assert not NESTED.encode([NESTED.extreme(largest=False)]).any()


@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan])
def test_mutation_rejects_a_rate_that_is_no_probability(rate: float) -> None:
    with pytest.raises(InputError, match=r"outside 0 … 1"):
        NESTED.mutate(NESTED.extreme(largest=True), np.random.default_rng(0), rate)


@pytest.mark.parametrize(("arch", "message"), [
    (Arch("other/1", (("g", 1),)), "is of space 'other/1'"),
    (Arch("nested/1", (("stages", 1),)), "are not those of nested/1"),
    (Arch("nested/1", (("depth", 1), ("stages", 1), ("kernel", 3), ("se", "no"), ("width", 8))),
     "in its order"),
    (Arch("nested/1", (("stages", 4), ("depth", 1), ("kernel", 3), ("se", "no"), ("width", 8))),
     "'stages' takes one of"),
    (Arch("nested/1", (("stages", 1), ("depth", True), ("kernel", 3), ("se", "no"), ("width", 8))),
     "not True"),
])
def test_encode_rejects_what_is_not_of_the_space(arch: Arch, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        NESTED.encode([arch])


@pytest.mark.parametrize("codes", [[[0, 0, 0]], [0, 0, 0, 0, 0], [[3, 0, 0, 0, 0]],
                                   [[0, -1, 0, 0, 0]]])
def test_decode_rejects_codes_of_other_spaces(codes: list[object]) -> None:
    with pytest.raises(ArchError, match=r"nested/1"):
        NESTED.decode(np.array(codes))


A = Gene("a", (1, 2))


@pytest.mark.parametrize(("genes", "message"), [
    ((A, A), "declared twice"),
    ((Gene("a", ()),), "no choices"),
    ((Gene("a", (1, 2.0)),), "all be int, float or str"),
    ((Gene("a", (1, True)),), "all be int, float or str"),
    ((Gene("a", (False, True)),), "all be int, float or str"),
    ((Gene("a", (1, 1)),), "repeats a choice"),
    ((Gene("a", (0.0, -0.0)),), "repeats a choice"),
    ((Gene("a", (1.0, math.nan)),), "not finite"),
    ((Gene("a", (1.0, math.inf)),), "not finite"),
    ((Gene("a", tuple(range(40_000))),), "at most 32767"),
    ((Gene("b", (1,), Condition("a", (1,))), A), "must be declared before"),
    ((A, Gene("b", (1,), Condition("b", (1,)))), "must be declared before"),
    ((A, Gene("b", (1,), Condition("a", (3,)))), "never has one of"),
    ((A, Gene("b", (1,), Condition("a", (1.0,)))), "never has one of"),
    ((A, Gene("b", (1,), Condition("a", ()))), "never has one of"),
])
def test_declarations_that_contradict_themselves(genes: tuple[Gene, ...], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        GeneSpace("bad/1", genes)
