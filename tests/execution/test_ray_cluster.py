"""What is particular to Ray: its own cluster, machines that are lost."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from execution_evaluators import SPACE, Plain, Slow, Toy, Writing, search, trials

from nas.core.errors import InputError
from nas.core.protocols import Executor
from nas.core.resources import Resources
from nas.execution.ray_executor import RayExecutor
from nas.execution.serial import SerialExecutor
from nas.search.ledger import ledger_equal

MakeExecutor = Callable[..., Executor]


@pytest.mark.usefixtures("ray_here")
def test_another_cluster_than_the_one_connected_to_is_refused() -> None:
    with pytest.raises(InputError, match=r"is connected to the Ray cluster at .*, not at"):
        list(RayExecutor(Resources(workers=1, address="127.0.0.1:1")).run(Plain(), trials(1)))


def test_functions_of_the_script_travel(make_executor: MakeExecutor) -> None:
    outcomes = make_executor("ray").run(lambda arch: {"error": len(arch.choices)}, trials(2))
    assert [outcome.metrics for outcome in outcomes] == [{"error": 1}] * 2
    assert len(SPACE.genes) == 1


def test_shared_arrays_are_read_only(make_executor: MakeExecutor) -> None:
    outcome, = make_executor("ray").run(Writing(np.zeros(4)), trials(1))
    assert outcome.error == "ValueError: output array is read-only"


def test_own_cluster_is_quiet_and_leaves_signals_alone(tmp_path: Path) -> None:
    program = ("import signal, sys; from pathlib import Path; from execution_evaluators import *; "
               "from nas.execution.ray_executor import RayExecutor; from nas.core.resources import "
               "Resources; before = signal.getsignal(signal.SIGTERM); "
               "ray = RayExecutor(Resources(workers=1, attempts=1)); "
               "found = list(ray.run(Deadly(Path(sys.argv[1]), {0: 1}), trials(2))); "
               "time.sleep(1); ray.close(); "
               "assert signal.getsignal(signal.SIGTERM) is before; "
               "print(sorted(o.ok for o in found))")
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True,
        timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "[False, True]\n"


@pytest.mark.slow
def test_machine_that_is_lost_changes_nothing(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    serial = search(SerialExecutor(), tmp_path / "serial.journal", seed=0, evaluate=Toy())
    cluster = Cluster(initialize_head=True,
                      head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        executor = RayExecutor(Resources(workers=2, address=cluster.address))
        loss = threading.Timer(4.0, lambda: cluster.remove_node(node, allow_graceful=False))
        loss.start()
        found = search(executor, tmp_path / "found.journal", seed=0, evaluate=Toy(1.0))
        loss.join()
        assert ledger_equal(serial, found)

        # With one attempt the loss of a machine is the end of its trial.
        executor.close()
        node = cluster.add_node(num_cpus=1)
        executor = RayExecutor(Resources(workers=2, address=cluster.address, attempts=1))
        outcomes = executor.run(Slow(tmp_path, {0: 10.0, 1: 10.0}), trials(2))

        def lose() -> None:
            while not {"0", "1"} <= {path.name for path in tmp_path.iterdir()}:
                time.sleep(0.1)
            cluster.remove_node(node, allow_graceful=False)

        loss = threading.Thread(target=lose)
        loss.start()
        errors = {str(outcome.error) for outcome in outcomes}
        executor.close()
        loss.join()
        assert errors == {"None", "WorkerDied: the worker of attempt 1 of 1 died: its machine "
                                  "cannot be reached any more"}
    finally:
        cluster.shutdown()
