"""What a search knows before any validation: exact objectives, features, how far bounds are off."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from hardware_profiles.real_time import RealTimeFactor
from nas.core.problem import OfCodes
from nas.core.protocols import CostModel, Predictor
from nas.core.space import SearchSpace
from nas.core.types import FloatArray, IntArray
from nas.evaluation.cascade import CostStage
from predictors.surrogate.rechosen import RechosenSurrogate


def known_objectives(models: Sequence[CostModel], names: Sequence[str]) -> Mapping[str, OfCodes]:
    """Returns those of the named objectives that a cost model gives, as the evaluator does."""
    return {name: partial(_value, model, name)
            for name in names if (model := _first(models, name)) is not None}


def code_features(space: SearchSpace, models: Sequence[CostModel]) -> OfCodes:
    """Returns what describes codes to a predictor: the space's features and log costs.

    A real-time factor is left out: its logarithm is that of the latency, less a constant.
    """
    costs = [partial(_value, model, name) for model in models for name in model.metrics
             if _first(models, name) is model and not isinstance(model, RealTimeFactor)]

    def features(codes: IntArray) -> FloatArray:
        logs = [np.log(cost(codes))[:, None] for cost in costs]
        return np.concatenate([space.features(codes), *logs], axis=1)

    return features


def make_predictor(seed: int) -> Predictor:
    """Returns the predictor that searchers learn."""
    return RechosenSurrogate(seed=seed)


def bound_excess(stages: Sequence[CostStage]) -> OfCodes | None:
    """Returns (upper end − bound) / bound of each stage, (N, stages); None without stages."""
    if not stages:
        return None

    def excess(codes: IntArray) -> FloatArray:
        columns = [stage.cost_model.predict(stage.name, codes).upper / stage.constraint.bound - 1.0
                   for stage in stages]
        return np.stack(columns, axis=1)

    return excess


def _first(models: Sequence[CostModel], name: str) -> CostModel | None:
    return next((model for model in models if name in model.metrics), None)


def _value(model: CostModel, name: str, codes: IntArray) -> FloatArray:
    return model.predict(name, codes).value
