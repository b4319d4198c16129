"""What the server tells the processes that it starts: its settings, over their standard input.

Not as arguments: a database URL may hold a password, and everybody sees arguments.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.service.settings import Settings


def settings_line(settings: Settings) -> bytes:
    """Returns the settings as a line that `read_settings` reads."""
    values = {**asdict(settings), "data": str(settings.data.absolute()),
              "allow": sorted(settings.allow)}
    return json.dumps(values).encode() + b"\n"


def read_settings(line: bytes) -> Settings:
    """Returns the settings of a line."""
    values: dict[str, Any] = json.loads(line)
    return Settings(**{**values, "data": Path(values["data"]),
                       "allow": frozenset(values["allow"])})


def start(module: str, settings: Settings, *arguments: str,
          pass_fds: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
    """Starts a module as a process and tells it the settings.

    The process leads a group of its own: Ctrl-C is for the server to handle. Its standard input
    stays open for as long as this process lives, and its output goes to where errors go.

    Raises:
        OSError: It cannot be started.
    """
    # -P: what lies in the working directory must not be imported.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments], stdin=subprocess.PIPE, stdout=2,
        process_group=0, pass_fds=pass_fds)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, as its exit code will say
        process.stdin.write(settings_line(settings))
        process.stdin.flush()
    return process


def end_with_parent() -> None:
    """Waits, in a started process, until the one that has started it is gone; then ends all."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    end_group()


def end_group() -> None:
    """Ends this process, which leads a group, and its children in the group, at once."""
    with suppress(ProcessLookupError):  # it leads none: it was started by hand
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Returns whether a started process has ended; its number stays its own until `bury`."""
    return process.returncode is not None or os.waitid(
        os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def bury(process: "subprocess.Popen[bytes]") -> int:
    """Ends a started process, if it has not ended, and what is left in its group.

    Returns:
        The exit code, or minus the number of the signal.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()
