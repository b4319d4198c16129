"""When a training is not worth its other epochs; imports Ray Tune."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

EPOCH, VALUES = "nas_epoch", "nas_values"  # in each result; the first value is ASHA's metric
FIRST = "nas_first"


class FrontHalving(ASHAScheduler):
    """Asynchronous successive halving that spares networks which no other dominates.

    ASHA (Li et al., arXiv 1810.05934, algorithm 2) goes by one metric: by the first objective
    alone it would stop every small and fast network of a front. So a network that ASHA would stop
    goes on while no network seen is as good in all objectives after as many epochs, and better in
    one. With a single objective this is ASHA.

    Args:
        epochs: Of a whole training.
        reduction: Of the networks at a rung, one in so many goes on.
    """

    def __init__(self, *, epochs: int, reduction: float) -> None:
        super().__init__(time_attr=EPOCH, metric=FIRST, mode="min", max_t=epochs, grace_period=1,
                         reduction_factor=reduction)
        self._epochs = epochs
        self._seen: dict[int, dict[str, Sequence[float]]] = {}  # epoch → trial → values

    def recall(self, name: str, values: Sequence[Sequence[float]]) -> None:
        """Takes what an earlier experiment found of a network after each epoch."""
        trial: Any = SimpleNamespace(trial_id=name)
        nobody: Any = None  # no controller: neither method asks it anything
        self.on_trial_add(nobody, trial)
        for epoch, found in enumerate(values, start=1):
            self.on_trial_result(nobody, trial, report(epoch, found))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Returns whether a training goes on."""
        decision = super().on_trial_result(tune_controller, trial, dict(result))
        if EPOCH not in result:
            return str(decision)
        epoch = int(result[EPOCH])
        values = [float(result[f"{VALUES}/{i}"]) for i in range(int(result[VALUES]))]
        seen = self._seen.setdefault(epoch, {})
        others = [found for name, found in seen.items() if name != trial.trial_id]
        if decision == TrialScheduler.STOP and epoch < self._epochs and not any(
                _dominates(other, values) for other in others):
            decision = TrialScheduler.CONTINUE
        seen[trial.trial_id] = values
        return str(decision)


def report(epoch: int, values: Sequence[float]) -> dict[str, Any]:
    """Returns what the scheduler needs of one epoch: flat, as Tune would make it.

    Args:
        epoch: Counted from 1.
        values: Of the objectives; smaller is better.
    """
    return {EPOCH: epoch, FIRST: values[0], VALUES: len(values),
            **{f"{VALUES}/{i}": value for i, value in enumerate(values)}}


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and list(a) != list(b)
