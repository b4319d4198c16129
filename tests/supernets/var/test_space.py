from collections import Counter
from dataclasses import asdict, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError, ConstraintError, SpaceError
from supernets.var.config import VarConfig
from supernets.var.memory import check_budget, kv_bytes
from supernets.var.presets import D30, FMNIST, PRESETS, VAE_256, VAE_FMNIST, VAES
from supernets.var.space import build_space, full_arch, plan, selected, variant_arch
from supernets.var.vae_config import VaeConfig, check_pair

SMALL = VarConfig(name="small/1", patch_nums=(1, 2, 3, 4), depth=9, width=8, head_dim=4,
                  depths=(2, 4, 8), bridges=(1, 2, 4), vocabulary=6, code_dim=4, classes=3)


def test_layers_are_those_of_the_index_rule() -> None:
    whole = range(30)
    assert selected(whole, 2) == (0, 29)
    assert selected(whole, 4) == (0, 9, 19, 29)
    assert selected(whole, 8) == (0, 4, 8, 12, 16, 20, 24, 29)
    assert not set(selected(whole, 8)) <= set(selected(whole, 16))  # why depths pick among layers
    with pytest.raises(ArchError, match="depth 1 of 30 layers: give 2 … 30"):
        selected(whole, 1)


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_variants_family_is_of_the_space(depth: int) -> None:
    found = plan(D30, variant_arch(D30, bridge=6, depth=depth))
    assert found.layers == (tuple(range(30)),) * 6 + (selected(range(30), depth),) * 4


def test_size_counts_every_canonical_architecture() -> None:
    space = build_space(SMALL)
    codes = np.array(list(product(*(range(len(gene.choices)) for gene in space.genes))))
    distinct = {tuple(code) for code in space.canonical_codes(codes).tolist()}
    assert space.size == len(distinct) == 10 + 6 + 1


def test_samples_are_uniform_within_each_bridge() -> None:
    space = build_space(SMALL)
    codes = space.sample_codes(6000, np.random.default_rng(0))
    assert (space.canonical_codes(codes) == codes).all()
    counts = Counter(map(tuple, codes.tolist()))
    assert len(counts) == space.size
    for bridge, ways in enumerate((10, 6, 1)):
        shares = [count for code, count in counts.items() if code[0] == bridge]
        assert min(shares) > 0.7 * 2000 / ways


def test_operators_stay_in_the_space() -> None:
    space, rng = build_space(SMALL), np.random.default_rng(1)
    a, b = space.sample(rng), space.sample(rng)
    for _ in range(40):
        a, b = space.mutate(a, rng, 0.5), space.crossover(a, b, rng)
        for arch in (a, b):
            layers = plan(SMALL, arch).layers
            assert all(set(later) <= set(sooner)
                       for sooner, later in pairwise(layers))
    assert plan(SMALL, space.extreme(largest=True)) == plan(SMALL, full_arch(SMALL))


def test_raising_depth_in_mid_image_is_an_error() -> None:
    genes = {"bridge": 1, "scale2.depth": 4, "scale3.depth": 8, "scale4.depth": 2}
    with pytest.raises(ArchError, match=r"scale3.depth 8 is more than scale2.depth 4"):
        make_arch(build_space(SMALL), genes)
    with pytest.raises(ArchError, match="rise"):
        plan(SMALL, Arch(SMALL.name, tuple(genes.items())))
    # Where scale 2 is a bridge its gene is dead and bounds nothing.
    assert make_arch(build_space(SMALL), genes | {"bridge": 2}).as_dict()["scale3.depth"] == 8


def test_later_depths_pick_among_the_layers_before() -> None:
    genes = {"bridge": 1, "scale2.depth": 8, "scale3.depth": 4, "scale4.depth": 2}
    found = plan(SMALL, make_arch(build_space(SMALL), genes))
    eight = (0, 1, 2, 3, 4, 5, 6, 8)
    assert found.layers == (tuple(range(9)), eight, (0, 2, 4, 8), (0, 8))
    assert found.lengths == {0: 30, 1: 5, 2: 14, 3: 5, 4: 14, 5: 5, 6: 5, 7: 1, 8: 30}


# Of the paper's batch of 64 with keys in 32 and values in 16 bits, in MiB. It reports 28,677 for
# the whole net, −65 % for d = 8, 7.2 thousand for d = 4 and −80 % for d = 2.
@pytest.mark.parametrize(("depth", "reported", "tolerance"), [
    (None, 28_677, 0.0005), (8, 28_677 * 0.35, 0.05), (4, 7_200, 0.01), (2, 28_677 * 0.2, 0.05)])
def test_the_papers_memory_table(depth: int | None, reported: float, tolerance: float) -> None:
    arch = variant_arch(D30, bridge=6 if depth else 10, depth=depth)
    found = kv_bytes(D30, plan(D30, arch), images=64, key_bytes=4, value_bytes=2)
    assert found / 2**20 == pytest.approx(reported, rel=tolerance)


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_the_two_gains_that_the_paper_leaves(depth: int) -> None:
    found = plan(D30, variant_arch(D30, bridge=6, depth=depth))
    sizes: dict[str, Any] = {"images": 64, "value_bytes": 2}
    half = kv_bytes(D30, found, key_bytes=2, **sizes)
    assert half * 3 == kv_bytes(D30, found, key_bytes=4, **sizes) * 2
    peak = kv_bytes(D30, found, key_bytes=2, freed=True, **sizes)
    assert peak == 2 * 64 * 1920 * 4 * max(30 * 91, depth * 680)


@pytest.mark.parametrize("freed", [True, False])
def test_a_budget_under_the_smallest_subnet(freed: bool) -> None:
    sizes: dict[str, Any] = {"images": 2, "key_bytes": 2, "value_bytes": 4, "freed": freed}
    space = build_space(SMALL)
    codes = np.array(list(product(*(range(len(gene.choices)) for gene in space.genes))))
    least = min(kv_bytes(SMALL, plan(SMALL, arch), **sizes)
                for arch in space.decode(space.canonical_codes(codes)))
    check_budget(SMALL, least, **sizes)
    with pytest.raises(ConstraintError, match=f"under the {least} of the smallest subnet"):
        check_budget(SMALL, least - 1, **sizes)


@pytest.mark.parametrize(("change", "message"), [
    ({"patch_nums": (1, 3, 2)}, "ascending"), ({"patch_nums": (3,)}, "two or more"),
    ({"depths": (1, 2)}, "within 2 … 8"), ({"depths": (2, 9)}, "within 2 … 8"),
    ({"bridges": (0, 2)}, "within 1 … 4"), ({"bridges": (2, 5)}, "within 1 … 4"),
    ({"head_dim": 3}, "no multiple of the head"), ({"classes": 0}, "positive integer"),
    ({"cond_drop": 1.0}, "below 1"), ({"shared_adaln": 1}, "true or false"),
    ({"name": ""}, "text")])
def test_bad_configurations(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(("change", "message"), [
    ({"image_size": 30}, "30 pixels cannot be divided by 4"),
    ({"patch_nums": (1, 2, 8)}, "must end at 7"), ({"strides": (2,)}, "need 2 multipliers"),
    ({"groups": 24}, "no multiple of 24 groups"), ({"phi_share": 2.0}, "in 0 … 1"),
    ({"strides": (2, 0)}, "positive integer")])
def test_bad_vqvaes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        replace(VAE_FMNIST, **change)


def test_a_transformer_needs_the_codes_that_it_speaks() -> None:
    for name, config in PRESETS.items():
        check_pair(config, VAES[name])
    with pytest.raises(SpaceError, match="patch_nums"):
        check_pair(FMNIST, VAE_256)


def test_configurations_survive_json() -> None:
    for config in (D30, SMALL):
        data = {key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(config).items()}
        assert VarConfig.from_dict(data) == config
    with pytest.raises(SpaceError, match="unknown key 'colour'"):
        VarConfig.from_dict(data | {"colour": 1})
    with pytest.raises(SpaceError, match="no key 'image_size'"):
        VaeConfig.from_dict({"name": "x"})


@pytest.mark.parametrize("arguments", [{"bridge": 7, "depth": 2}, {"bridge": 2, "depth": 16},
                                       {"bridge": 2}])
def test_variants_outside_the_space(arguments: dict[str, int]) -> None:
    with pytest.raises(ArchError):
        variant_arch(FMNIST, **arguments)
