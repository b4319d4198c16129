"""`TuneExecutor` on a cluster of two nodes, one of which is lost while it works."""

import threading
from pathlib import Path

import pytest
from epoch_evaluators import SPACE, ToyTraining

from nas.core.arch import Arch, make_arch
from nas.core.problem import Objective
from nas.core.resources import Resources
from nas.core.trial import Trial
from nas.execution.tune_executor import TuneExecutor


def network(a: int, kind: str) -> Arch:
    return make_arch(SPACE, {"a": a, "kind": kind})


@pytest.mark.slow
def test_trials_of_a_lost_node_go_on_elsewhere(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    executor = TuneExecutor(Resources(workers=2, address=cluster.address))
    try:
        # The objectives disagree, so that nothing is stopped early. The slow ones wait for half a
        # minute after their first epoch: the one on the second node is lost there.
        evaluate = ToyTraining(tmp_path, total_epochs=2,
                               objectives=(Objective("error", "%"), Objective("size", "1")))
        archs = [network(3, "good"), network(2, "slow"), network(1, "slow")]
        trials = [Trial(index, arch) for index, arch in enumerate(archs)]
        killer = threading.Timer(0, lambda: None)
        found = []
        for outcome in executor.run(evaluate, trials):
            if not found:
                killer = threading.Timer(15, cluster.remove_node, [second])
                killer.start()
            found.append(outcome)
        killer.join()
        assert sorted(outcome.trial.id for outcome in found) == [0, 1, 2]
        assert [(outcome.error, outcome.stage) for outcome in found] == 3 * [(None, "validation")]
        assert [evaluate.trained(arch) for arch in archs] == [2, 2, 2]
    finally:
        executor.close()
        cluster.shutdown()
