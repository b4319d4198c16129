"""What is particular to worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from execution_evaluators import Plain, Slow, Writing, trials

from nas.core.errors import InputError
from nas.core.protocols import Executor
from nas.core.resources import Resources
from nas.core.trial import Trial
from nas.evaluation.inherited import InheritedEvaluator
from nas.execution.process import ProcessExecutor
from nas.execution.serial import SerialExecutor
from supernets.mobilenet.supernet import MobileNetSupernet

MakeExecutor = Callable[..., Executor]

HEAD = """
import sys
from execution_evaluators import Plain, SPACE, trials, value_of
from nas.core.resources import Resources
from nas.execution.process import ProcessExecutor
class Here:
    def __call__(self, arch):
        print("said by a worker")
        return {"error": float(value_of(arch))}
def main(evaluate):
    executor = ProcessExecutor(Resources(workers=2))
    print(sorted(o.metrics["error"] for o in executor.run(evaluate, trials(2))))
    executor.close()
sys.excepthook = lambda kind, error, trace: print("refused:", error)
"""


def script(tmp_path: Path, body: str) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "script.py"
    path.write_text(HEAD + body)
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONWARNINGS": "error"})


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize(("body", "out"), [
    ("main(Plain())", "[0.0, 1.0]\n"),  # without a guard
    ("if __name__ == '__main__': main(Here())", "[0.0, 1.0]\n"),
    ("main(Here())", "refused: the evaluator cannot be used in a worker (InputError: the script"),
    ("if __name__ == '__main__': main(lambda arch: {})", "refused: the evaluator (function) "),
])
def test_scripts(tmp_path: Path, body: str, out: str) -> None:
    ran = script(tmp_path, body)
    assert ran.stdout.startswith(out)
    assert "said by a worker" not in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, by: int) -> None:
    program = ("import sys; from pathlib import Path; from execution_evaluators import *; "
               "from nas.execution.process import ProcessExecutor; from nas.core.resources import "
               "Resources; list(ProcessExecutor(Resources(workers=2)).run("
               "Slow(Path(sys.argv[1]), {0: 60.0}), trials(2)))")
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    try:
        wait_until(lambda: {"0", "1"} <= {path.name for path in tmp_path.iterdir()}, "no start")
        pids = {int((tmp_path / name).read_text()) for name in ("0", "1")}
        assert all(alive(pid) for pid in pids)  # one computes, one may wait for work
        parent.send_signal(by)
        assert parent.wait(30) == -by
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids), "a worker outlived its parent")


def test_closing_frees_the_shared_memory(make_executor: MakeExecutor) -> None:
    def shared() -> list[Path]:
        found = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return [path for path in found if "nas-evaluator" in str(path.readlink())]

    executor = make_executor("process", workers=1)
    list(executor.run(Writing(np.zeros(1000)), trials(3)))
    before = len(shared())
    executor.close()
    assert len(shared()) == before - 1


def test_what_a_worker_writes_is_its_own(make_executor: MakeExecutor) -> None:
    numbers = np.zeros(4)
    outcomes = make_executor("process", workers=1).run(Writing(numbers), trials(3))
    assert [outcome.metrics["error"] for outcome in outcomes] == [4.0, 8.0, 12.0]
    assert not numbers.any()


def test_validation_is_the_serial_one(make_executor: MakeExecutor,
                                      tiny_supernet: MobileNetSupernet) -> None:
    space = tiny_supernet.space
    archs = space.decode(space.sample_codes(6, np.random.default_rng(0)))
    batch = [Trial(number, arch) for number, arch in enumerate(archs)]
    evaluate = InheritedEvaluator(tiny_supernet)
    found = {outcome.trial.id: outcome
             for outcome in make_executor("process", workers=1).run(evaluate, batch)}
    assert [found[trial.id] for trial in batch] == list(
        SerialExecutor().run(InheritedEvaluator(tiny_supernet), batch))


def test_what_a_machine_lacks_is_refused() -> None:
    for options, remedy in (({"address": "auto"}, "use --executor ray for the cluster at auto"),
                            ({"gpus_per_trial": 0.5}, "use --executor ray for 0.5 GPUs")):
        for executor in (ProcessExecutor, SerialExecutor):
            with pytest.raises(InputError, match=remedy):
                executor(Resources(**options))  # type: ignore[arg-type]


def test_unused_it_starts_nothing(make_executor: MakeExecutor, tmp_path: Path) -> None:
    executor = make_executor("process")
    outcomes = executor.run(Slow(tmp_path, {}), trials(2))
    executor.close()
    del outcomes
    assert not list(tmp_path.iterdir())
    assert len(list(executor.run(Plain(), trials(1)))) == 1
