"""Which cores the threads of a measurement run on, so that each has one of its own.

Left to the scheduler, two threads may share a core for a whole session while the other idles:
the same network then takes 1.0 or 1.7 times as long, session by session.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.core.errors import ProfileError

_CPUS = Path("/sys/devices/system/cpu")


def own_cores(threads: int, root: Path = _CPUS) -> tuple[int, ...]:
    """Returns a core for each thread, those of different physical cores first.

    None for one thread, which no other can crowd, and where the system knows no affinities.

    Raises:
        ProfileError: The process may not use so many.
    """
    if threads == 1 or not hasattr(os, "sched_getaffinity"):
        return ()
    cores = sorted(os.sched_getaffinity(0), key=lambda core: (_is_sibling(core, root), core))
    if len(cores) < threads:
        raise ProfileError(f"{threads} threads need {threads} cores, and this process may use "
                           f"{len(cores)}; give fewer --threads")
    return tuple(cores[:threads])


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Keeps the calling thread, and it alone, on a core; None: wherever it runs."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _is_sibling(core: int, root: Path) -> bool:
    # Whether a hyperthread that is listed before this one has the same physical core.
    listed = root / f"cpu{core}" / "topology" / "thread_siblings_list"
    try:
        return int(listed.read_text().replace("-", ",").split(",")[0]) != core
    except (OSError, ValueError):
        return False
