"""The learning early exits of a search, from what the configuration names."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import CostModel, Supernet
from nas.core.rng import derive_seed
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.evaluation.learned_exits import LearnedExits
from nas.evaluation.proxy_scores import ProxyScores, proxy_batch
from nas.evaluation.quantile_exit import ExitConfig, QuantileExit, Scorer
from nas.evaluation.surrogate_scores import SurrogateScores
from nas.pipeline.config import SearchConfig
from nas.pipeline.knowledge import code_features, make_predictor
from nas.pipeline.proxies import load_proxy

PROXY_BATCH = 32  # training inputs that each score is computed on


def compose_gate(config: SearchConfig, supernet: Supernet,
                 models: Sequence[CostModel]) -> LearnedExits | None:
    """Returns the gate of a search, or None if it has no such exit.

    Args:
        config: Names the proxies.
        supernet: Whose networks are scored.
        models: The cost models; what none of them knows is to be predicted.

    Raises:
        InputError: An unknown proxy, one that cannot score networks of such a task at all, or no
            objective that is not known beforehand anyway.
    """
    if not config.proxy and not config.surrogate:
        return None
    known = {name for model in models for name in model.metrics}
    unknown = [objective for objective in config.objective_values() if objective.name not in known]
    if not unknown:
        raise InputError("--proxy and --surrogate stand for what validation finds out, but every "
                         f"objective ({', '.join(config.objectives)}) is known without it")
    sign = -1.0 if unknown[0].direction == "minimize" else 1.0

    def truth(outcome: Outcome) -> float:
        return sign * outcome.metrics[unknown[0].name]

    costs = cost_columns(supernet, models, [name for name in config.objectives if name in known])
    scorers: list[Scorer] = []
    if config.proxy:
        batch = proxy_batch(supernet.task.batches("train_calib"), PROXY_BATCH)
        proxies = [ProxyScores(name, supernet, load_proxy(name), batch=batch, seed=config.seed)
                   for name in config.proxy]
        _check_can_score(proxies, supernet)
        scorers += proxies
    if config.surrogate:
        seed = derive_seed(config.seed, "surrogate")
        features = code_features(supernet.space, models)
        scorers.append(SurrogateScores(
            lambda: make_predictor(seed), truth=truth,
            features=lambda archs: features(supernet.space.encode(archs))))
    exits = [QuantileExit(scorer, truth=truth, costs=costs, config=ExitConfig())
             for scorer in scorers]
    return LearnedExits(exits, seed=config.seed)


def _check_can_score(proxies: Sequence[ProxyScores], supernet: Supernet) -> None:
    # Better now than after the first validations; the smallest network is scored soonest.
    smallest = supernet.space.extreme(largest=False)
    for proxy in proxies:
        with suppress(EvaluationError):  # of this network: others may have a score
            proxy.compute(smallest)


def cost_columns(supernet: Supernet, models: Sequence[CostModel],
                 names: Sequence[str]) -> Callable[[Sequence[Arch]], FloatArray]:
    """Returns what gives the named costs of architectures, (N, names)."""
    chosen = [(name, next(model for model in models if name in model.metrics)) for name in names]

    def columns(archs: Sequence[Arch]) -> FloatArray:
        codes = supernet.space.encode(archs)
        found = [model.predict(name, codes).value for name, model in chosen]
        return np.stack(found, axis=1) if found else np.empty((len(archs), 0))

    return columns
