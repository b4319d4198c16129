"""How many runs and passes a measurement can afford."""

from collections.abc import Callable, Mapping

import numpy as np

from hardware_profiles.profile import MeasureProtocol, Runtime
from hardware_profiles.session import Model, TimedSession

MIN_RUNS, MIN_PASSES = 30, 3  # fewer do not give a minimum or a median
BUDGET_S = 150.0  # what the planned passes may take
_SAMPLE = 16  # models timed for the estimate, at most
_PILOT_RUNS = 3


def affordable(protocol: MeasureProtocol, *, run_s: float,
               budget_s: float = BUDGET_S) -> MeasureProtocol:
    """Returns the protocol with as many runs, then passes, as the time allows.

    Runs of a pass go first: the minimum of 30 is hardly above that of 80, while passes are what
    the median and the check that it repeats are made of. Below `MIN_RUNS` and `MIN_PASSES`
    nothing is saved; then it takes longer.

    Args:
        protocol: What is wanted at most.
        run_s: Seconds that one run of every model takes, all together.
        budget_s: Seconds for the planned passes; measuring again what did not settle may take
            as long once more.
    """
    def seconds(runs: int, passes: int) -> float:
        return (protocol.warm_up + runs) * passes * run_s

    if seconds(protocol.runs, protocol.passes) <= budget_s:
        return protocol
    runs = int(budget_s / (protocol.passes * run_s)) - protocol.warm_up
    runs = min(protocol.runs, max(MIN_RUNS, runs))
    passes = int(budget_s / ((protocol.warm_up + runs) * run_s))
    passes = min(protocol.passes, max(MIN_PASSES, passes))
    return protocol.model_copy(update={
        "runs": runs, "passes": passes, "max_passes": min(protocol.max_passes, 2 * passes)})


def pilot_s(models: Mapping[str, Callable[[], bytes]], runtime: Runtime,
            rng: np.random.Generator) -> float:
    """Returns about how many seconds one run of every model takes, from a few of them.

    Raises:
        ProfileError: The runtime cannot run one of these.
    """
    keys = list(models)
    chosen = keys[::-(-len(keys) // _SAMPLE)]
    quick = MeasureProtocol(warm_up=1, runs=_PILOT_RUNS)
    total_ns = sum(
        int(TimedSession(Model(key, models[key]()), runtime=runtime, rng=rng)
            .time(quick).wall_ns.min()) for key in chosen)
    return total_ns / 1e9 * len(keys) / len(chosen)
