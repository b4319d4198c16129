"""Questions of the server that need torch, put to a process beside it; this imports none."""

import asyncio
import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from typing import Any

from nas.core import errors
from nas.core.errors import InputError, NasError
from nas.service.handover import bury, has_ended, start
from nas.service.requests import JobRequest, config_values
from nas.service.settings import Settings
from nas.service.store.errors import ServiceError

_LOG = logging.getLogger(__name__)

CHECK_S = 20.0  # so long a submission may wait for its check
KINDS = ("devices", "supernets", "searchers", "proxies", "executors")  # of rows
ROWS_S = 120.0  # also for the first answer of a process that is still starting


class Aside:
    """The process, started at first use and again where it has died.

    Questions are answered one after the other.

    Args:
        settings: Of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._has_answered = False

    def start(self) -> None:
        """Starts the process, so that the first question need not wait for it; returns at once."""
        self._thread.submit(self._begin)

    async def rows(self, kind: str) -> Sequence[Mapping[str, Any]]:
        """Returns the rows that `nas list` has of a kind.

        Raises:
            NasError: There is no answer.
        """
        found: list[dict[str, Any]] = await self._asked({"rows": kind}, ROWS_S)
        return found

    async def check(self, request: JobRequest) -> None:
        """Passes a permitted job that nothing known beforehand forbids.

        One that cannot be checked in time passes, too: its worker finds out.

        Raises:
            NasError: As the command line; the message is the same.
        """
        try:
            async with asyncio.timeout(CHECK_S):
                await self._asked({"check": request.kind, "config": config_values(request)},
                                  CHECK_S)
        except (TimeoutError, NoAnswer):
            _LOG.warning("a %s job is accepted without a check", request.kind)

    def close(self) -> None:
        """Ends the process; questions that wait get no answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._process is not None:
            bury(self._process)  # which also ends a call that waits for it
        self._thread.shutdown(wait=True)
        self._forget()

    async def _asked(self, question: Mapping[str, Any], seconds: float) -> Any:
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._thread, self._ask, question, seconds)
        if "error" in answer:
            raise _error(**answer["error"])
        return answer["found"]

    def _ask(self, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        # In the one thread of this.
        message = json.dumps(question).encode()
        try:
            connection = self._begin()
            connection.send_bytes(message)
            # One that is still starting is not given up for the first who asks.
            if connection.poll(seconds if self._has_answered else max(seconds, ROWS_S)):
                answer: dict[str, Any] = json.loads(connection.recv_bytes())
                self._has_answered = True
                return answer
            reason = f"took longer than {seconds:g} s"
        except (EOFError, OSError) as error:
            reason = f"ended ({error or type(error).__name__})"
        self._forget()
        raise NoAnswer(f"the process that answers this {reason}; try again, or look into the "
                       "server's log")

    def _begin(self) -> Connection:
        if self._process is not None and has_ended(self._process):
            self._forget()
        if self._connection is None:
            mine, its = Pipe()
            try:
                self._process = start("nas.service.aside_process", self._settings,
                                      str(its.fileno()), pass_fds=(its.fileno(),))
            except OSError:
                mine.close()
                raise
            finally:
                its.close()
            self._connection, self._has_answered = mine, False
        return self._connection

    def _forget(self) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if process is not None:
            bury(process)
        if connection is not None:
            connection.close()


class NoAnswer(ServiceError):
    """The process has died or took too long."""

    code = "no_answer"
    status = 503


def _error(name: str, message: str, *, of_input: bool) -> NasError:
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, NasError):
        return known(message)
    return InputError(message) if of_input else NasError(message)
