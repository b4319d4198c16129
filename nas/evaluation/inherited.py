"""Quality with inherited weights: extract, recalibrate batch norm, validate. Nothing is trained."""

import math
from collections.abc import Mapping, Sequence

import torch

from nas.core.arch import Arch
from nas.core.costs import Estimate
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch, CostModel, Supernet


class InheritedEvaluator:
    """The `Evaluator` of weight sharing; a pure function of the architecture, cached by digest.

    Each network is an extracted copy whose batch-norm statistics come from ``train_calib``; the
    supernet is never written to. Weights are laid out channels last, as the images of the task
    are, which is the faster layout on a CPU.

    Args:
        supernet: Whose weights and task are used.
        cost_models: Asked for `metrics`; where two know one, the first is.
        metrics: Cost metrics to report beside the task's quality metrics.
        split: Validated on; ``"search"`` while searching.

    Raises:
        InputError: A metric that no cost model knows.
    """

    def __init__(self, supernet: Supernet, *, cost_models: Sequence[CostModel] = (),
                 metrics: Sequence[str] = (), split: str = "search") -> None:
        self.supernet = supernet
        self.split = split
        self._models = {name: _model_of(name, cost_models) for name in metrics}
        self._found: dict[str, Mapping[str, float]] = {}
        self._calibration: list[Batch] | None = None  # small, and read for every network

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the quality and cost metrics of an architecture.

        Raises:
            ArchError: An architecture of another space.
            EvaluationError: A metric is not finite.
        """
        arch = self.supernet.space.canonical(arch)
        if arch.digest not in self._found:
            metrics = {**self._quality(arch), **self._costs(arch)}
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise EvaluationError(f"metric {name!r} of network {arch.digest} is {value}")
            self._found[arch.digest] = metrics
        return dict(self._found[arch.digest])

    def _quality(self, arch: Arch) -> Mapping[str, float]:
        task = self.supernet.task
        if self._calibration is None:
            self._calibration = list(task.batches("train_calib"))
        module = self.supernet.recalibrated(arch, self._calibration)
        module = module.to(memory_format=torch.channels_last)
        return task.metrics(module, task.batches(self.split))

    def _costs(self, arch: Arch) -> dict[str, float]:
        codes = self.supernet.space.encode([arch])
        return {name: _value(model.predict(name, codes)) for name, model in self._models.items()}


def _value(estimate: Estimate) -> float:
    value = float(estimate.value[0])
    return int(value) if estimate.kind == "exact" else value  # counts stay whole numbers


def _model_of(metric: str, models: Sequence[CostModel]) -> CostModel:
    for model in models:
        if metric in model.metrics:
            return model
    known = ", ".join(dict.fromkeys(name for model in models for name in model.metrics)) or "none"
    raise InputError(f"no cost model gives metric {metric!r}; known: {known}")
