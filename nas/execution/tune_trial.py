"""One training as a trial of Ray Tune; imports Ray Tune. It runs in the workers."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray import tune

from nas.core.arch import Arch
from nas.core.problem import minimized
from nas.core.protocols import EpochEvaluator
from nas.execution.packing import unpack
from nas.execution.serial import error_line
from nas.execution.threads import use_threads
from nas.execution.tune_halving import report

TRIAL, INDEX, ARCH = "trial", "index", "arch"  # in the configuration: the trial has the others
METRICS, ERROR = "nas_metrics", "nas_error"  # in the results


class TrainingTrial(tune.Trainable):
    """Each step is an epoch; a training that fails ends the trial with its error as the result.

    Tune sees an error only where a worker dies: it starts the trial again, which goes on from the
    evaluator's files.
    """

    def setup(self, config: dict[str, Any], payload: bytes = b"", buffers: Sequence[Any] = (),
              threads: int = 1, path: Sequence[str] = ()) -> None:
        """Takes what `ray.tune.with_parameters` passes.

        Args:
            config: Of the first trial.
            payload: The packed evaluator: see `nas.execution.packing`.
            buffers: Of it; not written to.
            threads: Of its computations.
            path: Where modules are looked for at the driver's; here they may be there, too.
        """
        sys.path += [entry for entry in path if entry not in sys.path]
        self._evaluate: EpochEvaluator = unpack(payload, buffers)
        use_threads(threads)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins another trial in the same process."""
        arch: Arch = new_config[TRIAL][ARCH]
        self._epochs: Iterator[Mapping[str, float]] = self._evaluate.epochs(arch)
        self._done = 0
        return True

    def step(self) -> dict[str, Any]:
        """Returns the result of the next epoch."""
        try:
            metrics = next(self._epochs)
            values = minimized(self._evaluate.objectives, [metrics])[0].tolist()
        except Exception as error:  # whatever an evaluator raises, the search goes on
            return {"done": True, ERROR: error_line(error)}
        self._done += 1
        return {**report(self._done, values), METRICS: dict(metrics),
                "done": self._done == self._evaluate.total_epochs}
