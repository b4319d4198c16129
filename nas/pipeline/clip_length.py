"""How long the clips are that a search of speech encoders counts costs on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hardware_profiles.real_time import METRIC as RTF
from hardware_profiles.real_time import RealTimeFactor
from nas.core.errors import InputError
from nas.core.protocols import CostModel, Supernet

if TYPE_CHECKING:
    from nas.pipeline.config import SearchConfig


def at_length(supernet: Supernet, config: "SearchConfig") -> Supernet:
    """Has costs counted on clips of `config.seconds`, where that is given; it validates as before.

    Args:
        supernet: Its task is replaced.
        config: Of the search.

    Raises:
        InputError: The supernet is not one of speech, or no clip is so long.
    """
    if config.seconds is not None:
        if not hasattr(supernet.task, "with_clips"):
            raise InputError(f"--seconds {config.seconds:g} is for supernets of speech, which "
                             f"{config.supernet} is not; drop it")
        supernet.task = supernet.task.with_clips(config.seconds)
    return supernet


def real_time_models(supernet: Supernet, config: "SearchConfig", *,
                     latency: CostModel) -> Sequence[CostModel]:
    """Returns the cost model of the real-time factor, or none where inputs have no length in time.

    Raises:
        InputError: It is asked for, and there is none.
    """
    seconds: float | None = getattr(supernet.task, "clip_seconds", None)
    if seconds is not None:
        return (RealTimeFactor(latency, seconds),)
    for option, asked in (("--objectives", RTF in config.objectives),
                          ("--stop-at", RTF in config.stop_at),
                          ("--max-rtf", config.max_rtf is not None)):
        if asked:
            raise InputError(f"{option}: a real-time factor ({RTF}) is of speech, and the inputs "
                             f"of {config.supernet} have no length in time; use latency_ms")
    return ()
