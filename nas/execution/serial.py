"""One trial after the other, in this process."""

from collections.abc import Iterator, Sequence

from nas.core.errors import InputError
from nas.core.protocols import Evaluator
from nas.core.resources import Resources
from nas.core.trial import Outcome, Trial


class SerialExecutor:
    """The `Executor` that runs trials in order; an interrupt passes through.

    Args:
        resources: One worker, this machine.

    Raises:
        InputError: More is asked for than one process can use.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        resources = resources or Resources()
        if (resources.workers or 1) > 1:
            raise InputError(f"the serial executor runs one trial at a time, not "
                             f"{resources.workers}; use --executor process or ray")
        require_this_machine(resources, "serial")

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there."""
        for trial in trials:
            yield run_trial(evaluate, trial)

    def close(self) -> None:
        """Has nothing to end."""


def require_this_machine(resources: Resources, name: str) -> None:
    """Refuses what only a cluster has.

    Raises:
        InputError: A cluster's address, or shares of GPUs.
    """
    if resources.address is not None:
        raise InputError(f"the {name} executor runs on this machine; use --executor ray for "
                         f"the cluster at {resources.address}")
    if resources.gpus_per_trial > 0:
        raise InputError(f"the {name} executor shares out no GPUs; use --executor ray for "
                         f"{resources.gpus_per_trial:g} GPUs per trial")


def run_trial(evaluate: Evaluator, trial: Trial) -> Outcome:
    """Returns the outcome of one trial; an exception becomes its one-line error.

    What the metrics must hold is for the driver to check, the same for every executor.
    """
    try:
        metrics = evaluate(trial.arch)
    except Exception as error:  # whatever an evaluator raises, the search goes on
        return Outcome(trial, error=error_line(error))
    return Outcome(trial, metrics)


def error_line(error: BaseException) -> str:
    """Returns an exception as one line: its type and its message, if it has one."""
    message = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {message}" if message else name
