"""Trained evaluation as trials of Ray Tune. `ray` is imported only when trials are run."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from nas.core.errors import InputError
from nas.core.protocols import EpochEvaluator, Evaluator
from nas.core.resources import Resources
from nas.core.trial import Outcome, Trial

if TYPE_CHECKING:
    from nas.execution.ray_cluster import Connection

REDUCTION = 3.0  # of the trainings that reach a rung, one in so many goes on
_NEEDED = ("objectives", "folder", "total_epochs", "epochs", "abandon", "histories")


class TuneExecutor:
    """The `Executor` that trains a batch as one experiment of Ray Tune and stops bad ones early.

    A trial that is trained to its end has an outcome of stage ``"validation"``; one that
    `FrontHalving` has stopped is of stage ``"partial"``, with the metrics of its last epoch and
    the cost of its epochs. Networks trained in earlier batches are compared with, too. What is
    stopped depends on the order in which epochs end: with one worker it is always the same, with
    more it is not.

    Tune's own state is not kept: what was trained is in the evaluator's files. So a batch whose
    driver was killed is run again as a new experiment, in which finished epochs take no time; and
    a trial whose worker died goes on from its last epoch, ``attempts`` times in all.

    Args:
        resources: ``workers`` trainings at once, each with ``threads`` cores and
            ``gpus_per_trial``; None: as many as the cluster has room for, with one core each. The
            cluster is found or made as by `nas.execution.ray_executor.RayExecutor`.
        reduction: Of the trainings that reach a rung, one in so many goes on, > 1.

    Raises:
        InputError: `reduction` out of range.
    """

    def __init__(self, resources: Resources | None = None, *, reduction: float = REDUCTION) -> None:
        if not reduction > 1:
            raise InputError(f"successive halving keeps one in {reduction} trainings; give more "
                             "than 1")
        self._resources = resources or Resources()
        self._reduction = reduction
        self._connection: Connection | None = None
        self._sent: tuple[Evaluator, Any] | None = None  # and the trainable that holds it

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there.

        Raises:
            InputError: An evaluator that does not train, or a cluster that cannot be reached.
            NasError: Ray Tune itself failed; what was trained is kept.
        """
        missing = [name for name in _NEEDED if not hasattr(evaluate, name)]
        if missing:
            raise InputError("the executor tune runs trainings; use it with --evaluation trained, "
                             "or another --executor")
        trained = cast(EpochEvaluator, evaluate)
        from nas.execution.ray_cluster import connect
        from nas.execution.tune_experiment import experiment, make_trainable
        from nas.execution.tune_quiet import quiet

        threads = self._resources.threads or 1
        if self._connection is None:
            self._connection = connect(self._resources, threads)
            _require_room(self._resources, own=self._connection.own)
        if self._sent is None or self._sent[0] is not evaluate:
            self._sent = evaluate, make_trainable(
                trained, threads=threads, gpus=self._resources.gpus_per_trial)
        with quiet():
            yield from experiment(self._sent[1], trained, trials, reduction=self._reduction,
                                  workers=self._resources.workers,
                                  attempts=self._resources.attempts)

    def close(self) -> None:
        """Ends the connection, and the cluster if it was started for it."""
        if self._connection is not None:
            from nas.execution.ray_cluster import disconnect

            disconnect(self._connection)
        self._connection = self._sent = None


def _require_room(resources: Resources, *, own: bool) -> None:
    """Checks that a trial can ever begin: a cluster of somebody else's may still grow.

    Raises:
        InputError: This machine has fewer GPUs than a trial takes.
    """
    import ray

    have = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if own and resources.gpus_per_trial > have:
        raise InputError(f"a trial takes {resources.gpus_per_trial:g} GPUs, but this machine has "
                         f"{have:g}; ask for fewer, or give the address of a cluster")
