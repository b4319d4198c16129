"""One batch of trainings as one experiment of Ray Tune; imports Ray Tune."""

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
from ray import cloudpickle, tune
from ray.exceptions import RayTaskError

from nas.core.errors import NasError
from nas.core.problem import minimized
from nas.core.protocols import EpochEvaluator
from nas.core.trial import FULL, Outcome, Trial
from nas.execution.packing import pack
from nas.execution.serial import error_line
from nas.execution.tune_halving import EPOCH, FrontHalving
from nas.execution.tune_trial import ARCH, ERROR, INDEX, METRICS, TRIAL, TrainingTrial

PARTIAL = "partial"  # the stage of an outcome that was stopped early

Reports = SimpleQueue[Outcome | str]  # a text: why the experiment has ended


def make_trainable(evaluate: EpochEvaluator, *, threads: int, gpus: float) -> Any:
    """Returns what Tune runs; the evaluator goes into Ray's object store once.

    Raises:
        InputError: The evaluator cannot be sent to workers.
    """
    packed = pack(evaluate, what="the evaluator", pickler=cloudpickle.CloudPickler)
    return tune.with_resources(
        tune.with_parameters(
            TrainingTrial, payload=packed.payload, threads=threads, path=[*sys.path],
            buffers=[np.frombuffer(buffer, dtype=np.uint8) for buffer in packed.buffers]),
        {"cpu": threads, "gpu": gpus})


def experiment(trainable: Any, evaluate: EpochEvaluator, trials: Sequence[Trial], *,
               reduction: float, workers: int | None, attempts: int) -> Iterator[Outcome]:
    """Yields the outcome of each trial as soon as it is there.

    Raises:
        NasError: Tune itself failed.
    """
    reports: Reports = SimpleQueue()
    watcher = _Watcher(trials, evaluate.total_epochs, attempts, reports)
    ended = _Ended()
    tuner = tune.Tuner(
        trainable,
        param_space={TRIAL: tune.grid_search([
            {INDEX: index, ARCH: trial.arch} for index, trial in enumerate(trials)])},
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(evaluate, trials, reduction), max_concurrent_trials=workers,
            reuse_actors=True, trial_dirname_creator=_folder_name),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(evaluate.folder), verbose=0, callbacks=[watcher],
            stop=ended, failure_config=tune.FailureConfig(max_failures=attempts - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)))
    evaluate.folder.mkdir(parents=True, exist_ok=True)
    # `fit` returns only at the end; the driver writes outcomes as they come.
    thread = threading.Thread(target=_fit, args=(tuner, reports), daemon=True)
    thread.start()
    left = {trial.id for trial in trials}
    try:
        while left:
            report = reports.get()
            if not isinstance(report, Outcome):
                raise NasError(f"Ray Tune ended early ({report}); what was trained is kept: resume "
                               "the search")
            if not report.final:
                evaluate.abandon(report.trial.arch)
            left.remove(report.trial.id)
            yield report
    finally:
        ended.set()
        thread.join()
        shutil.rmtree(evaluate.folder / "tune", ignore_errors=True)


def _fit(tuner: Any, reports: Reports) -> None:
    try:
        tuner.fit()
    except Exception as error:  # to be raised where the outcomes are waited for
        reports.put(error_line(error))
    else:
        reports.put("with trials left")


def _scheduler(evaluate: EpochEvaluator, trials: Sequence[Trial],
               reduction: float) -> FrontHalving:
    scheduler = FrontHalving(epochs=evaluate.total_epochs, reduction=reduction)
    own = {trial.arch.digest for trial in trials}  # these report again what they know
    for digest, history in evaluate.histories().items():
        if digest not in own and history:
            scheduler.recall(digest, minimized(evaluate.objectives, history).tolist())
    return scheduler


def _folder_name(trial: Any) -> str:
    return str(trial.trial_id)


def _ending(error: Exception | None, times: int) -> str:
    text = str(error).strip()
    if isinstance(error, RayTaskError):
        return error_line(error.cause)
    if "creation task" in text:  # Ray's way to say that the evaluator could not be unpacked
        return f"WorkerError: a worker could not begin: {text.splitlines()[-1].strip()}"
    return (f"WorkerError: the worker of this trial died {times} times; the system ends what takes "
            "too much memory")


class _Watcher(tune.Callback):
    """Turns what Tune tells of its trials into outcomes."""

    def __init__(self, trials: Sequence[Trial], epochs: int, attempts: int,
                 reports: Reports) -> None:
        self._trials, self._epochs, self._attempts = trials, epochs, attempts
        self._reports = reports

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any,
                          **info: Any) -> None:
        """A training that has ended by itself or by the scheduler."""
        del iteration, trials, info
        found = trial.last_result
        mine = self._trials[trial.config[TRIAL][INDEX]]
        if ERROR in found:
            self._reports.put(Outcome(mine, error=found[ERROR]))
        else:
            done = int(found[EPOCH])
            self._reports.put(Outcome(
                mine, dict(found[METRICS]), FULL if done == self._epochs else PARTIAL,
                cost=done / self._epochs))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial that Tune has given up: its worker died, or could not begin."""
        del iteration, trials, info
        line = _ending(trial.get_pickled_error(), trial.num_failures)
        self._reports.put(Outcome(self._trials[trial.config[TRIAL][INDEX]], error=line))

    def __getstate__(self) -> dict[str, Any]:
        # Tune stores it beside its own state, which is not read again.
        return {}


class _Ended(tune.Stopper):
    """Stops an experiment that nobody waits for any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Stops it."""
        self._event.set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Returns that no single trial is stopped."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Returns whether all are."""
        return self._event.is_set()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._event = threading.Event()
