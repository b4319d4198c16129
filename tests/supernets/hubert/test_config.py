import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hubert_nets import uniform_arch

from nas.core.arch import make_arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import ArchError, SpaceError
from supernets.hubert.blocks import build_vocabulary
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.presets import BASE, PRESETS, SMALL, TINY
from supernets.hubert.published import published_params
from supernets.hubert.space import build_space, plan
from supernets.hubert.supernet import HubertSupernet

PARAMS = [(BASE, 640, 10, 41_249_536, 66_897_664, 94_377_728),
          (SMALL, 384, 6, 11_449_088, 26_879_744, 44_398_336)]


@pytest.mark.parametrize(("config", "size"), [(BASE, 6_530_347_008), (SMALL, 951_892_141_473),
                                              (TINY, 3 * sum(9**d for d in (3, 4, 5, 6)))])
def test_spaces_have_the_published_sizes(config: ElasticHubertConfig, size: int) -> None:
    assert build_space(config).size == size


@pytest.mark.parametrize(("config", "embed", "heads", "smallest", "reference", "largest"), PARAMS)
def test_parameters_are_the_published_ones(config: ElasticHubertConfig, embed: int, heads: int,
                                           smallest: int, reference: int, largest: int) -> None:
    space = build_space(config)
    choices = {"embed": embed, "depth": 12}
    for layer in range(12):
        choices |= {f"layer{layer}.heads": heads, f"layer{layer}.ratio": 4.0}
    archs = [space.extreme(largest=False), make_arch(space, choices), space.extreme(largest=True)]
    found = [published_params(config, plan(config, arch)) for arch in archs]
    assert found == [smallest, reference, largest]


def test_depth_drops_the_published_layers() -> None:
    space = build_space(SMALL)
    for depth, dropped in ((10, {7, 11}), (11, {11}), (12, set())):
        arch = make_arch(space, {**space.extreme(largest=True).as_dict(), "depth": depth})
        kept = [layer.index for layer in plan(SMALL, arch).layers]
        assert kept == [layer for layer in range(12) if layer not in dropped]
        same = make_arch(space, {**arch.as_dict(), "layer11.heads": 4})
        assert (same == arch) == (11 in dropped)


def test_samples_make_frames() -> None:
    assert BASE.receptive_field == 400
    found = [BASE.frames(samples) for samples in (400, 719, 720, 16_000, 160_000)]
    assert found == [1, 1, 2, 49, 499]
    assert BASE.frames(399) < 1


def test_the_tiny_space_has_small_subnets_and_a_small_file() -> None:
    space = build_space(TINY)
    vocabulary = build_vocabulary(TINY, space, samples=16_000)
    costs = ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)
    codes = space.encode([space.extreme(largest=largest) for largest in (False, True)])
    smallest, largest = costs.predict("macs", codes).value
    assert smallest <= 0.4 * largest
    weights = sum(parameter.numel() for parameter in
                  HubertSupernet(TINY, target_dim=384).parameters())  # Whisper tiny.en's width
    assert 2 * weights <= 6_000_000


@pytest.mark.parametrize(("embed", "heads"), [(96, 3), (128, 4), (192, 6)])
def test_every_width_of_the_tiny_space_has_a_stock_network(embed: int, heads: int) -> None:
    net = HubertSupernet(TINY)
    subnet = net.plan(uniform_arch(net, embed=embed, heads=heads, ratio=2.0, depth=4))
    assert subnet.is_uniform(TINY.head_dim)


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_survives_json(name: str) -> None:
    config = PRESETS[name]
    assert config.name == f"{name}/1"
    assert ElasticHubertConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(("change", "message"), [
    ({"name": 3}, "no text"),
    ({"embeds": []}, "embeds"),
    ({"embeds": [256, 128]}, "ascending"),
    ({"embeds": [256, 256]}, "distinct"),
    ({"embeds": [256.0]}, "int numbers"),
    ({"embeds": [1024]}, "but 768 and 12 are stored"),
    ({"embeds": [200]}, "width 200 is no multiple"),
    ({"heads": [0, 4]}, "heads"),
    ({"heads": [True]}, "heads"),
    ({"heads": [4, 16]}, "but 768 and 12 are stored"),
    ({"ratios": [4]}, "float numbers"),
    ({"ratios": [0.001]}, "0 FFN units"),
    ({"ratios": [4.5]}, "not among the 3072"),
    ({"ratios": [float("nan")]}, "ratios"),
    ({"depths": [12], "dropped": []}, "dropped needs"),
    ({"depths": [11], "dropped": [[]]}, "drops 0 layers of 12"),
    ({"depths": [11], "dropped": [[12]]}, "layers of 0 … 11"),
    ({"depths": [10], "dropped": [[3, 3]]}, "distinct"),
    ({"depths": [11], "dropped": [[3]]}, "layer 3 is dropped by every depth"),
    ({"dropped": 3}, "cannot be read"),
    ({"width": 0}, "positive integers"),
    ({"stored_ratio": 4}, "positive float"),
    ({"kernels": [10, 3]}, "2 kernels and 7 strides"),
    ({"kernels": [], "strides": []}, "0 kernels"),
    ({"colour": 1}, "colour"),
])
def test_configurations_that_cannot_be(change: dict[str, Any], message: str) -> None:
    data = json.loads(json.dumps(asdict(SMALL)))
    with pytest.raises(SpaceError, match=message) as caught:
        ElasticHubertConfig.from_dict({**data, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "embeds", "heads", "ratios", "depths", "dropped"])
def test_a_configuration_that_lacks_a_key_is_an_error(key: str) -> None:
    with pytest.raises(SpaceError, match=key):
        ElasticHubertConfig.from_dict({k: v for k, v in asdict(SMALL).items() if k != key})


def test_an_architecture_of_another_space_has_no_plan() -> None:
    with pytest.raises(ArchError, match=r"is of space 'hubert-base/1', not 'hubert-small/1'"):
        plan(SMALL, build_space(BASE).extreme(largest=True))


def test_a_name_is_all_that_tells_two_spaces_apart() -> None:
    other = build_space(replace(SMALL, name="other/1"))
    assert other.genes == build_space(SMALL).genes
