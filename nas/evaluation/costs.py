"""Cost metrics of one network, from the cost models that know them."""

import math
from collections.abc import Mapping, Sequence

from nas.core.arch import Arch
from nas.core.costs import Estimate
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import CostModel
from nas.core.space import SearchSpace


class CostMetrics:
    """Gives the costs of architectures; counts are whole numbers.

    Args:
        space: Of the architectures.
        models: Where two know a metric, the first is asked.
        metrics: Names of what is wanted.

    Raises:
        InputError: A metric that no cost model knows.
    """

    def __init__(self, space: SearchSpace, models: Sequence[CostModel],
                 metrics: Sequence[str]) -> None:
        self._space = space
        self._models = {name: model_of(name, models) for name in metrics}

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Returns the costs by name."""
        codes = self._space.encode([arch])
        return {name: _value(model.predict(name, codes)) for name, model in self._models.items()}


def finite(metrics: Mapping[str, float], arch: Arch) -> Mapping[str, float]:
    """Returns the metrics as they are.

    Raises:
        EvaluationError: One of them is not finite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise EvaluationError(f"metric {name!r} of network {arch.digest} is {value}")
    return metrics


def _value(estimate: Estimate) -> float:
    value = float(estimate.value[0])
    return int(value) if estimate.kind == "exact" else value


def model_of(metric: str, models: Sequence[CostModel]) -> CostModel:
    """Returns the first model that knows a metric.

    Raises:
        InputError: None does.
    """
    for model in models:
        if metric in model.metrics:
            return model
    known = ", ".join(dict.fromkeys(name for model in models for name in model.metrics)) or "none"
    raise InputError(f"no cost model gives metric {metric!r}; known: {known}")
