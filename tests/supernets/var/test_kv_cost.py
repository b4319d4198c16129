"""Bytes of key-value caches by codes: those of the plan, which are those that are allocated."""

import dataclasses

import pytest
import torch
from var_nets import SMALL, small_net, small_vae

from nas.core.errors import InputError
from nas.core.rng import derive_rng
from supernets.var.config import VarConfig
from supernets.var.generate import generate
from supernets.var.kv_cost import KeyValueCosts
from supernets.var.memory import kv_bytes
from supernets.var.presets import D30
from supernets.var.sampling import Sampling
from supernets.var.space import build_space, plan, variant_arch


@pytest.mark.parametrize("config", [
    SMALL, D30, dataclasses.replace(SMALL, bridges=(2, 3)),
    dataclasses.replace(SMALL, cond_drop=0.0)])
@pytest.mark.parametrize(("key_bytes", "value_bytes"), [(4, 4), (2, 4)])
def test_bytes_of_codes_are_those_of_their_plans(config: VarConfig, key_bytes: int,
                                                 value_bytes: int) -> None:
    space = build_space(config)
    codes = space.sample_codes(40, derive_rng(0, "codes"))
    costs = KeyValueCosts(config, key_bytes, value_bytes)
    found = costs.predict("kv_bytes", codes)
    assert found.value.tolist() == [
        kv_bytes(config, plan(config, arch), images=1, key_bytes=key_bytes,
                 value_bytes=value_bytes, guided=config.cond_drop > 0, freed=True)
        for arch in space.decode(codes)]
    assert found.kind == "exact"
    assert (found.lower == found.upper).all()


def test_they_are_what_one_image_allocates() -> None:
    net, arch = small_net(), variant_arch(SMALL, bridge=2, depth=4)
    made = generate(net, small_vae(), torch.tensor([1]), arch, sampling=Sampling(), seed=0)
    found = KeyValueCosts(SMALL).predict("kv_bytes", net.space.encode([arch]))
    assert found.value.tolist() == [made.kv_bytes]


def test_they_are_a_whole_networks_and_nothing_else() -> None:
    costs = KeyValueCosts(SMALL)
    assert dict(costs.metrics) == {"kv_bytes": "B"}
    assert costs.block_table("kv_bytes") is None
    for ask in (lambda: costs.block_table("macs"),
                lambda: costs.predict("macs", build_space(SMALL).encode([]))):
        with pytest.raises(InputError, match="have no metric 'macs'; they have 'kv_bytes'"):
            ask()
