"""How long a client tries again where something fails that may pass."""

import time
from collections.abc import Callable

from nas.core.errors import NasError
from nas.service.client_errors import ServerError

PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0

Say = Callable[[str], None]


class Away(ServerError):
    """A server that does not answer, or says itself that it cannot now: later it may.

    Attributes:
        was_sent: Whether it may have done all the same what it was asked for.
        is_ours: Whether it was nas serve that said so.
        retry_after_s: When it wants to be asked again.
    """

    def __init__(self, message: str, *, was_sent: bool, is_ours: bool = False,
                 retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.is_ours = is_ours
        self.retry_after_s = retry_after_s


class Patience:
    """Waits between one try and the next, longer each time, and gives up in the end.

    Args:
        limit_s: From the first failure on.
        say: Is told once, in one line, what there is to wait for.
    """

    def __init__(self, limit_s: float, say: Say) -> None:
        self._limit_s, self._say = limit_s, say
        self.reset()

    def reset(self) -> None:
        """It works again: the next failure is a first one."""
        self._end: float | None = None
        self._pause_s = PAUSE_S

    def wait(self, trouble: NasError, at_least_s: float | None = None, *,
             quietly: bool = False) -> None:
        """Sleeps until the next try.

        Args:
            trouble: What has failed; it is raised where the next try would come too late.
            at_least_s: How long the server wants to be left alone.
            quietly: Whether it is nothing to speak of yet.
        """
        now = time.monotonic()
        pause_s = self._pause_s if at_least_s is None else max(at_least_s, PAUSE_S)
        is_first = self._end is None
        if self._end is None:
            self._end = now + self._limit_s
        if now + pause_s > self._end:
            raise trouble
        if is_first and not quietly:
            self._say(f"{trouble}; trying again in {pause_s:.3g} s, for up to {self._limit_s:g} s")
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
