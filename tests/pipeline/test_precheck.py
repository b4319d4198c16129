from typing import Any

import pytest

from nas.core.errors import InputError
from nas.core.protocols import Supernet
from nas.pipeline.compose import compose, load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.events import silent
from nas.pipeline.precheck import check_search


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return load_supernet("mobilenet-fmnist")


@pytest.mark.usefixtures("profile_cache")
@pytest.mark.parametrize("config", [
    {"max_macs": 1000}, {"max_params": 10}, {"max_memory": 10}, {"max_latency_ms": 1e-6},
    {"device": "jetson", "max_latency_ms": 1e-4}, {"device": "jetsom"},
    {"device": "jetson", "require_measured": True}, {"max_params": 50_000, "max_macs": 540_000},
    {"searcher": "lina"}, {"searcher": "optuna:nothing:Here"}, {"executor": "proces"},
    {"searcher_options": {"population": 2}}, {"searcher": "optuna-cmaes"},
    {"objectives": ["error", "energy_mj"]}, {"proxy": ["nasvot"]}], ids=str)
def test_what_is_refused_is_refused_in_the_same_words(config: dict[str, Any],
                                                      supernet: Supernet) -> None:
    with pytest.raises(InputError) as sooner:
        check_search(make_config(config))
    with pytest.raises(InputError) as later:
        compose(make_config(config), watch=silent, supernet=supernet)
    assert (type(sooner.value), str(sooner.value)) == (type(later.value), str(later.value))


@pytest.mark.usefixtures("profile_cache")
@pytest.mark.parametrize("config", [
    {}, {"max_macs": 3_000_000, "max_latency_ms": 100}, {"device": "jetson", "searcher": "nsga2"},
    {"searcher": "optuna-cmaes", "objectives": ["error"]}, {"compare": ["nsga2", "random"]},
    {"executor": "process", "workers": 2}, {"threads": 2, "max_latency_ms": 1e-6}], ids=str)
def test_what_may_work_passes(config: dict[str, Any]) -> None:
    check_search(make_config(config))


def test_there_must_be_such_a_supernet() -> None:
    for name in ("mobilnet", "timm:resnet18", "no/folder"):
        with pytest.raises(InputError) as sooner:
            check_search(make_config({"supernet": name}))
        with pytest.raises(InputError) as later:
            load_supernet(name)
        assert str(sooner.value) == str(later.value)
