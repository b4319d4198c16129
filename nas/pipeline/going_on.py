"""What a run says when it is stopped: how to go on with it."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.core.errors import DiskError, RunInterrupted
from nas.core.files import os_error_line


@contextmanager
def says_how_to_go_on(run_dir: Path, done: Callable[[], str]) -> Iterator[None]:
    """Turns Ctrl-C and a disk that fails into one line with the command that goes on.

    Args:
        run_dir: The run's folder.
        done: Says how far it has come, such as ``"12 of 64 validations"``.

    Raises:
        RunInterrupted: In place of a KeyboardInterrupt.
        DiskError: In place of an OSError.
    """
    command = f"nas search --resume {shlex.quote(str(run_dir))}"
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(f"stopped after {done()}; go on with: {command}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, then go on with: {command}"
                        ) from None
