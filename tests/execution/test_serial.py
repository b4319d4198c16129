from collections.abc import Mapping

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Trial
from nas.execution.registry import EXECUTORS
from nas.execution.serial import SerialExecutor

SPACE = GeneSpace("toy/1", (Gene("a", (1, 2, 3, 4)),))
TRIALS = [Trial(i, arch) for i, arch in enumerate(SPACE.decode(
    np.arange(4, dtype=np.int16)[:, None]))]


def evaluate(arch: Arch) -> Mapping[str, float]:
    value = arch.as_dict()["a"]
    if value == 2:
        raise ValueError("first line\n  second line")
    if value == 3:
        raise RuntimeError
    return {"error": float(value)}


def test_failure_is_an_outcome_and_the_others_go_on() -> None:
    outcomes = list(SerialExecutor().run(evaluate, TRIALS))
    assert [outcome.trial for outcome in outcomes] == TRIALS
    assert [outcome.ok for outcome in outcomes] == [True, False, False, True]
    assert outcomes[0].metrics == {"error": 1.0}
    assert outcomes[1].error == "ValueError: first line second line"
    assert outcomes[2].error == "RuntimeError"
    assert outcomes[1].metrics == {}


def test_outcomes_come_one_by_one() -> None:
    calls = []

    def counted(arch: Arch) -> Mapping[str, float]:
        calls.append(arch)
        return {"error": 0.0}

    outcomes = SerialExecutor().run(counted, TRIALS)
    next(outcomes)
    assert len(calls) == 1


def test_interrupt_passes_through() -> None:
    def interrupted(arch: Arch) -> Mapping[str, float]:
        raise KeyboardInterrupt(arch)

    with pytest.raises(KeyboardInterrupt):
        list(SerialExecutor().run(interrupted, TRIALS))


def test_it_is_registered() -> None:
    assert EXECUTORS.get("serial").resolve() is SerialExecutor
