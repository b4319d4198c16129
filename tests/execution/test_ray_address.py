"""Addresses of clusters that are none."""

import socket
import time
from collections.abc import Iterator

import pytest
from execution_evaluators import Plain, trials

from nas.core.errors import InputError
from nas.core.resources import Resources
from nas.execution.ray_executor import RayExecutor


def refused(address: str) -> str:
    with pytest.raises(InputError) as caught:
        list(RayExecutor(Resources(workers=1, address=address)).run(Plain(), trials(1)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(("address", "message"), [
    ("head", "is none of auto, host:port and ray://host:port"),
    ("head:port", "is none of auto, host:port and ray://host:port"),
    ("nobody.invalid:6379", "no Ray cluster answers at nobody.invalid:6379 (gaierror"),
])
def test_address_at_which_there_is_nothing_is_refused(address: str, message: str) -> None:
    assert message in refused(address)


def test_no_cluster_of_its_own_accord_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:  # there may be one of somebody else on this machine
        raise ConnectionError("Could not find any running Ray instance.\nPlease say which.")

    monkeypatch.setattr("ray.init", init)
    assert ("no connection to the Ray cluster at auto (ConnectionError: Could not find any "
            "running Ray instance. Please say which.); check the address") in refused("auto")


def test_port_that_nobody_listens_at_is_refused(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()
    started = time.monotonic()
    message = refused(f"127.0.0.1:{port}")
    assert "ConnectionRefusedError" in message
    assert "check the address" in message
    assert time.monotonic() - started < 60  # not the minutes that Ray takes


def test_port_of_something_else_is_refused(listening: socket.socket,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.execution.ray_cluster.ANSWER_TIMEOUT_S", 1.0)
    message = refused(f"127.0.0.1:{listening.getsockname()[1]}")
    assert "does not answer as a Ray cluster" in message


def test_client_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'ray[client]'" in refused("ray://127.0.0.1:10001")
