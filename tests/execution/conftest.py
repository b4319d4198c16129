"""Executors by name; Ray is started once for all tests of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from execution_evaluators import Plain, trials

from nas.core.protocols import Executor
from nas.core.resources import Resources
from nas.execution.ray_executor import RayExecutor
from nas.execution.registry import EXECUTORS

MakeExecutor = Callable[..., Executor]


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A cluster on this machine, started by an executor, which the others find."""
    import ray

    first = RayExecutor(Resources(workers=5))  # of which it starts one, and others the rest
    assert len(list(first.run(Plain(), trials(1)))) == 1
    assert ray.is_initialized()
    yield
    first.close()
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def kept(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Executor]]:
    """Executors of two workers, or one if there can be no more, which serve many tests."""
    made: dict[str, Executor] = {}

    def make(name: str) -> Executor:
        if name not in made:
            entry = EXECUTORS.get(name)
            if name == "ray":
                request.getfixturevalue("ray_here")
            resources = Resources(workers=2 if entry.info["parallel"] else None)
            made[name] = entry.resolve()(resources)
        return made[name]

    yield make
    for executor in made.values():
        executor.close()


@pytest.fixture
def make_executor(request: pytest.FixtureRequest,
                  kept: Callable[[str], Executor]) -> Iterator[MakeExecutor]:
    """The kept executor of a name; with other resources one of its own, closed afterwards."""
    made: list[Executor] = []

    def make(name: str, **options: Any) -> Executor:
        if not options:
            return kept(name)
        if name == "ray":
            request.getfixturevalue("ray_here")
        made.append(EXECUTORS.get(name).resolve()(Resources(**{"workers": 2, **options})))
        return made[-1]

    yield make
    for executor in made:
        executor.close()
