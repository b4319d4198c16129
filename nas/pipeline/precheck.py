"""Whether work can begin at all, found out without weights, data or a measurement.

Each function raises what the use-case itself would raise, sooner. What it passes may still fail:
only whoever loads a supernet knows what its data allow.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hardware_profiles.energy import METRIC as ENERGY
from nas.core.problem import Problem
from nas.core.protocols import CostModel
from nas.evaluation.cascade import Cascade
from nas.execution.registry import EXECUTORS
from nas.pipeline.config import SearchConfig
from nas.pipeline.design import Design, load_design, require_trained
from nas.pipeline.devices import HOST
from nas.pipeline.knowledge import bound_excess, code_features, known_objectives, make_predictor
from nas.pipeline.prune.methods import method_entry
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.rank_request import RankRequest, require_proxies
from nas.pipeline.screening import (
    check_bounds,
    check_searcher,
    cost_stages,
    count_models,
    energy_models,
    known_profile,
    latency_table,
)
from nas.search.factory import make_searcher
from supernets.registry import SUPERNETS


def check_search(config: SearchConfig) -> None:
    """Passes a search or comparison that nothing known beforehand forbids.

    Raises:
        InputError: An unknown name, constraints that no network meets, an option that the
            searcher does not take, or a device of which nothing is known.
    """
    searchers = config.compare or (config.searcher,)
    for name in searchers:
        check_searcher(name)
    EXECUTORS.get(config.executor).resolve()
    design = _design(config.supernet)
    if design is None or config.seconds is not None:  # costs are those of another length
        return
    models = _models(config, design)
    known = {metric for model in models for metric in model.metrics}
    stages = cost_stages([bound for bound in config.constraints() if bound.metric in known], models)
    check_bounds(stages, design.space, config.seed)
    _check_proxies(config.proxy)
    problem = Problem(
        space=design.space, objectives=config.objective_values(), screen=Cascade(stages),
        seed=config.seed, known=known_objectives(models, config.objectives),
        features=code_features(design.space, models), predictor=make_predictor,
        excess=bound_excess(stages))
    for name in searchers:
        make_searcher(name, problem, budget=config.budget, options=config.searcher_options)


def check_rank(request: RankRequest) -> None:
    """Passes a ranking that nothing known beforehand forbids.

    Raises:
        InputError: An unknown name, or fewer networks than are to be drawn.
    """
    require_proxies(request)
    _check_proxies(request.proxies)
    if request.models:
        from nas.pipeline.rank_candidates import plain_models  # brings timm

        plain_models(request.models, batch=request.batch, seed=request.seed)
    elif (design := _design(request.supernet)) is not None:
        from nas.pipeline.rank_candidates import require_enough

        require_enough(design.space, request.n)


def check_prune(request: PruneRequest) -> None:
    """Passes a pruning that nothing known beforehand forbids.

    Raises:
        InputError: An unknown model or method.
    """
    for name in request.methods:
        method_entry(name).resolve()
    from supernets.timm.create import check_name  # brings timm

    check_name(request.name)


def check_supernet(name: str) -> None:
    """Passes a supernet's name that may be one.

    Raises:
        InputError: There is none of that name.
    """
    _design(name)


def _design(name: str) -> Design | None:
    """Returns the design of a supernet; None where only the supernet itself knows it."""
    if "/" in name and Path(name).is_dir():
        return load_design(name)
    require_trained(name)
    return _registered_design(name) if "design" in SUPERNETS.get(name).info else None


@lru_cache(maxsize=8)
def _registered_design(name: str) -> Design:
    return load_design(name)


def _models(config: SearchConfig, design: Design) -> Sequence[CostModel]:
    # Of another device something must be known; this machine can be measured yet.
    matters = (config.device != HOST or config.max_latency_ms is not None
               or ENERGY in config.objectives)
    profile = known_profile(config, design) if matters else None
    if profile is None:
        return (count_models(design),)
    return (latency_table(design, profile), count_models(design),
            *energy_models(config, design, profile))


def _check_proxies(names: Sequence[str]) -> None:
    if names:
        from nas.pipeline.proxies import load_proxy  # brings torch

        for name in names:
            load_proxy(name)
