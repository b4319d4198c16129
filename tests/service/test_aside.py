import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import ConstraintError, InputError, UnknownNameError
from nas.service.aside import Aside, NoAnswer
from nas.service.folder import DataDir
from nas.service.handover import has_ended
from nas.service.requests import read_request
from nas.service.settings import Settings


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory, quick_profiles: Path) -> Iterator[Aside]:
    folder = DataDir(tmp_path_factory.mktemp("service"))
    folder.make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(quick_profiles))
        found = Aside(Settings(data=folder.root))
        found.start()
        yield found
        found.close()


def check(aside: Aside, kind: str, **config: Any) -> None:
    asyncio.run(aside.check(read_request(kind, config)))


def test_rows_are_those_of_the_list(aside: Aside) -> None:
    async def rows() -> list[Any]:
        return await asyncio.gather(*(aside.rows(kind) for kind in ("supernets", "devices")))

    supernets, devices = asyncio.run(rows())
    assert "mobilenet-fmnist" in [row["name"] for row in supernets]
    assert devices[0]["name"] == "host"
    with pytest.raises(InputError, match="there is no list of 'secrets'"):
        asyncio.run(aside.rows("secrets"))


def test_a_job_that_can_be_done_passes(aside: Aside) -> None:
    check(aside, "search", budget=3, max_params=100_000, max_latency_ms=100)
    check(aside, "search", compare=["nsga2", "random"])
    check(aside, "rank", n=5, proxies=["naswot"])
    check(aside, "export", job="0" * 16)


@pytest.mark.parametrize(("kind", "config", "error", "line"), [
    ("search", {"max_macs": 1000}, ConstraintError, "--max-macs 1000: no architecture of "),
    ("search", {"max_latency_ms": 1e-6}, ConstraintError, "the smallest reachable latency_ms is"),
    ("search", {"supernet": "mobilnet"}, UnknownNameError, "did you mean mobilenet-fmnist"),
    ("search", {"device": "jetsom"}, InputError, "unknown device 'jetsom'"),
    ("rank", {"proxies": ["nasvot"]}, UnknownNameError, "did you mean naswot"),
    ("rank", {"proxies": []}, InputError, "--proxy: name at least one"),
    ("prune", {"model": "timm:resnet1888", "data": "x", "macs": 0.5}, InputError, "resnet1888"),
    ("import", {"result": "abc", "supernet": "mobilnet"}, UnknownNameError, "mobilenet-fmnist"),
])
def test_a_job_that_cannot_be_done_has_the_command_lines_sentence(
        aside: Aside, kind: str, config: dict[str, Any], error: type[Exception],
        line: str) -> None:
    with pytest.raises(error, match=line) as found:
        check(aside, kind, **config)
    assert type(found.value) is error


def test_a_process_that_dies_is_started_again(aside: Aside) -> None:
    assert aside._process is not None
    dead = aside._process.pid
    os.kill(dead, signal.SIGKILL)
    while not has_ended(aside._process):
        time.sleep(0.01)
    with pytest.raises(ConstraintError):
        check(aside, "search", max_macs=1000)
    assert aside._process.pid != dead


def test_a_process_that_dies_over_a_question_gives_no_answer(aside: Aside) -> None:
    check(aside, "search")
    assert aside._process is not None
    os.kill(aside._process.pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (aside._process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(NoAnswer, match=r"ended .*; try again"):
        asyncio.run(aside.rows("searchers"))
    killer.join()
    check(aside, "search", max_macs=3_000_000)


def test_nothing_is_left_when_it_is_closed(tmp_path: Path) -> None:
    folder = DataDir(tmp_path)
    folder.make()
    aside = Aside(Settings(data=folder.root))
    aside.start()
    began = time.monotonic()
    while aside._process is None and time.monotonic() < began + 10:
        time.sleep(0.01)
    assert aside._process is not None
    process = aside._process
    aside.close()
    assert process.returncode is not None
