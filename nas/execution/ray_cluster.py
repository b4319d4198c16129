"""Connecting to Ray: a cluster of our own on this machine, or one that is there already."""

import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nas.core.errors import InputError
from nas.core.resources import Resources
from nas.execution.process import ALLOCATOR, usable_cores
from nas.execution.serial import error_line

_CLIENT = "ray://"
_PORT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0  # of which importing ray is several

# Of a cluster of our own: it calls nobody, and its workers' memory is handled as a process's is.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", **ALLOCATOR}

_REMEDY = "check the address and `ray status` there, or leave it out to run on this machine"


_printers: list[Any] = []  # what Ray prints with, while it does not


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of this process to a cluster.

    Attributes:
        own: Whether the cluster was started for it, and has what it was started with, no more.
        made: Whether the connection was, which `disconnect` then ends.
    """

    own: bool
    made: bool


def connect(resources: Resources, threads: int) -> Connection:
    """Connects this process, if it is not connected already.

    Without an address, and not connected, a cluster of our own is started, which ends with the
    connection or with this process.

    Raises:
        InputError: No cluster answers at the address, within half a minute, or this process is
            connected to another one.
    """
    import ray

    address = resources.address
    if ray.is_initialized():
        _require_same(address)
        return Connection(own=False, made=False)
    if address is None:
        cores = max(usable_cores(), (resources.workers or 1) * threads)
        _init(_ENVIRONMENT, address="local", num_cpus=cores, include_dashboard=False)
        return Connection(own=True, made=True)
    _require_answer(address)
    try:
        _init({}, address=address)
    except Exception as error:  # of several kinds, by the way in which it does not fit
        raise InputError(f"no connection to the Ray cluster at {address} ({error_line(error)}); "
                         f"{_REMEDY}") from error
    return Connection(own=False, made=True)


def disconnect(connection: Connection) -> None:
    """Ends a connection that was made here, and with it a cluster of our own."""
    if connection.made:
        import ray

        ray.shutdown()
        _speak()


def _require_same(address: str | None) -> None:
    import ray

    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise InputError(f"this process is connected to the Ray cluster at {here}, not at "
                         f"{address}; leave the address out or disconnect first")


def _require_answer(address: str) -> None:
    # `ray.init` would wait for two minutes, say why on stderr, and leave by SystemExit.
    if address == "auto":
        return  # it looks for files, and fails at once
    if address.startswith(_CLIENT) and importlib.util.find_spec("grpc") is None:
        raise InputError(f"{address} needs Ray's client; pip install 'ray[client]'")
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise InputError(f"Ray address {address!r} is none of auto, host:port and "
                         "ray://host:port; 6379 and 10001 are the usual ports")
    try:
        socket.create_connection((host, port), timeout=_PORT_TIMEOUT_S).close()
    except OSError as error:
        raise InputError(f"no Ray cluster answers at {address} ({error_line(error)}); {_REMEDY}"
                         ) from error
    if not address.startswith(_CLIENT) and not _healthy(address):
        raise InputError(f"what listens at {address} does not answer as a Ray cluster of this "
                         f"version; {_REMEDY}")


def _healthy(address: str) -> bool:
    # In a process of its own: asking a port that is not Ray's may never end.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=ANSWER_TIMEOUT_S,
                              check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _init(environment: Mapping[str, str], **options: Any) -> None:
    import ray

    _hush()
    with _variables(environment), _own_signals():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def _hush() -> None:
    # Ray prints to standard output whenever a worker dies, which no option keeps it from: but a
    # result is written there, and outcomes say what became of a worker. Not in every version.
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream") and not _printers:
        _printers.append(worker.print_to_stdstream)
        worker.print_to_stdstream = lambda *_args, **_options: None


def _speak() -> None:
    from ray._private import worker

    if _printers:
        worker.print_to_stdstream = _printers.pop()


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    # What is started meanwhile inherits them. Those that the user has set stay.
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _own_signals() -> Iterator[None]:
    # Ray takes SIGTERM for itself; how this process ends is for its owner to say.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
