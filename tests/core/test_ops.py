from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from space_strategies import SEEDS, spaces

from nas.core.ops import crossed, invert, mutated
from nas.core.space import Condition, Gene, GeneSpace

KERNELS = (3, 5, 7)

FLAT = GeneSpace("flat/1", (*(Gene(f"k{i}", KERNELS) for i in range(4)), Gene("w", (8, 16)),
                            *(Gene(f"r{i}", (3.0, 5.0, 7.0)) for i in range(2))))

NESTED = GeneSpace("nested/1", (
    Gene("depth0", (1, 2)), Gene("depth1", (1, 2)),
    *(Gene(f"s{s}.b{b}.kernel", KERNELS, Condition(f"depth{s}", (2,)) if b else None)
      for s in range(2) for b in range(2))))


@given(st.integers(0, 2**32))
def test_inversion_stays_in_the_space_and_is_canonical(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = NESTED.sample(rng)
    child = invert(NESTED, arch, rng)
    assert NESTED.canonical(child) == child
    assert NESTED.decode(NESTED.encode([child]))[0] == child


@given(st.integers(0, 2**32))
def test_inversion_swaps_and_loses_no_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = FLAT.sample(rng)
    before, after = arch.as_dict(), invert(FLAT, arch, rng).as_dict()
    for genes in (("k0", "k1", "k2", "k3"), ("r0", "r1")):
        assert Counter(before[g] for g in genes) == Counter(after[g] for g in genes)
    assert before["w"] == after["w"]
    moved = [gene for gene in before if before[gene] != after[gene]]
    # One segment turned about its middle: what the first gene lost the last one has.
    assert all(before[a] == after[b] for a, b in zip(moved, reversed(moved), strict=True))


def test_each_segment_turns_up() -> None:
    arch = FLAT.decode(np.array([[0, 1, 2, 1, 0, 0, 0]], dtype=np.int16))[0]
    rng = np.random.default_rng(0)
    seen = {tuple(FLAT.encode([invert(FLAT, arch, rng)])[0, :4].tolist()) for _ in range(300)}
    assert seen == {(0, 1, 2, 1), (1, 0, 2, 1), (0, 2, 1, 1), (0, 1, 1, 2), (2, 1, 0, 1),
                    (0, 1, 2, 1), (1, 2, 1, 0)}


def test_genes_that_are_not_live_take_no_part() -> None:
    space = GeneSpace("dead/1", (Gene("on", (0, 1)), Gene("a", KERNELS, Condition("on", (1,))),
                                 Gene("b", KERNELS)))
    arch = space.decode(np.array([[0, 0, 2]], dtype=np.int16))[0]
    assert invert(space, arch, np.random.default_rng(0)) is arch


def test_space_without_like_genes_gives_the_architecture_back() -> None:
    space = GeneSpace("unlike/1", (Gene("a", (1, 2)), Gene("b", (1, 2, 3)), Gene("c", (1.0, 2.0))))
    arch = space.sample(np.random.default_rng(0))
    assert invert(space, arch, np.random.default_rng(0)) is arch


@given(space=spaces(), seed=SEEDS, rate=st.one_of(st.none(), st.floats(0, 1)))
def test_mutation_stays_in_the_space_and_is_canonical(space: GeneSpace, seed: int,
                                                      rate: float | None) -> None:
    rng = np.random.default_rng(seed)
    codes = space.sample_codes(20, rng)
    children = mutated(space, codes, rng, rate=rate)
    assert (space.encode(space.decode(children)) == children).all()
    assert (space.canonical_codes(children) == children).all()


@given(space=spaces(), seed=SEEDS)
def test_mutation_moves_all_live_genes_at_rate_one_and_none_at_zero(space: GeneSpace,
                                                                    seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = space.sample_codes(20, rng)
    assert (mutated(space, codes, rng, rate=0.0) == codes).all()
    moved = mutated(space, codes, rng, rate=1.0)
    # What lives before and after has moved, where it could.
    both = space.active(codes) & space.active(moved) & (space.cardinalities > 1)
    assert (moved != codes)[both].all()


def test_mutation_moves_one_gene_on_average_numbers_nearby_and_texts_anywhere() -> None:
    space = GeneSpace("mixed/1", (*(Gene(f"n{i}", tuple(range(21))) for i in range(3)),
                                  *(Gene(f"t{i}", tuple("abcdefghijklmnopqrstu"))
                                    for i in range(2))))
    codes = np.full((20_000, 5), 10, dtype=np.int16)
    steps = mutated(space, codes, np.random.default_rng(0)).astype(int) - 10
    assert np.isclose((steps != 0).sum(axis=1).mean(), 1.0, atol=0.03)
    numbers, texts = steps[:, :3], steps[:, 3:]
    shares = {step: float((numbers == step).mean()) for step in (1, 3, 6)}
    assert shares[1] > 1.5 * shares[3] > 2 * shares[6] > 0
    counts = np.bincount(texts[texts != 0] + 10, minlength=21)
    assert counts[10] == 0
    assert counts[counts > 0].min() > 0.75 * counts.max()
    assert np.isclose((numbers > 0).sum(), (numbers < 0).sum(), rtol=0.05)


def test_crossover_takes_each_gene_from_either_parent() -> None:
    a, b = np.zeros((4000, 6), dtype=np.int16), np.ones((4000, 6), dtype=np.int16)
    rng = np.random.default_rng(0)
    assert (crossed(a, b, rng, rate=0.0) == a).all()
    children = crossed(a, b, rng, rate=0.5)
    copies = (children == 0).all(axis=1)
    assert np.isclose(copies.mean(), 0.5 + 0.5 / 64, atol=0.03)
    assert np.allclose(children[~copies].mean(axis=0), 32 / 63, atol=0.03)
