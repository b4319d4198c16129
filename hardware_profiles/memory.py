"""Peak memory of models, each in a process of its own that is forked from a warm one.

A new Python with ONNX Runtime takes a second to start; a fork of one that is there takes
milliseconds, and starts with nothing of the models before it.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware_profiles.profile import Runtime
from hardware_profiles.session import CPU

_STATM = Path("/proc/self/statm")
_PROGRAM = Path(__file__).with_name("memory_child.py")


class MemoryProbe:
    """Asks the warm process; see `memory_probe`."""

    def __init__(self, child: "subprocess.Popen[bytes]", runtime: Runtime, empty: bytes) -> None:
        self._child, self._threads = child, runtime.threads
        self._empty_bytes = self._ask(empty)

    @property
    def process_id(self) -> int:
        """The warm process."""
        return self._child.pid

    def peak_bytes(self, model: bytes) -> int | None:
        """Returns the largest resident memory that loading and running a model takes.

        What an empty graph takes, such as pages of the runtime itself, is taken off. None if
        the model could not be run, or if nothing is left: that is too little to tell.
        """
        found = self._ask(model)
        if found is None or self._empty_bytes is None:
            return None
        return found - self._empty_bytes if found > self._empty_bytes else None

    def _ask(self, model: bytes) -> int | None:
        source, target = self._child.stdin, self._child.stdout
        if source is None or target is None:
            return None
        try:
            source.write(struct.pack("<QQ", len(model), self._threads) + model)
            source.flush()
            answer = target.read(8)
        except OSError:  # the child is gone
            return None
        found = struct.unpack("<q", answer)[0] if len(answer) == 8 else -1
        return found if found >= 0 else None


def resident_bytes() -> int:
    """Returns this process's resident memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@contextmanager
def memory_probe(runtime: Runtime, empty: bytes) -> Iterator[MemoryProbe | None]:
    """Yields a probe of peak memory, None where there is none to measure.

    That is off Linux, and for providers whose memory is not the process's.

    Args:
        runtime: What the models run on.
        empty: The smallest model there is.
    """
    if not Path("/proc/self/status").is_file() or runtime.provider != CPU:
        yield None
        return
    child = subprocess.Popen([sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
    with child:
        try:
            yield MemoryProbe(child, runtime, empty)
        finally:
            child.kill()
