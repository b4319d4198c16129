import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.budget import MIN_PASSES, MIN_RUNS, affordable, pilot_s
from hardware_profiles.measure import this_runtime
from hardware_profiles.models import graph_models
from hardware_profiles.profile import MeasureProtocol

WANTED = MeasureProtocol()


def seconds(protocol: MeasureProtocol, run_s: float) -> float:
    return (protocol.warm_up + protocol.runs) * protocol.passes * run_s


@given(run_s=st.floats(1e-4, 1e3), budget_s=st.floats(1, 1e4))
def test_the_plan_is_within_the_time_or_the_least_there_is(run_s, budget_s):
    found = affordable(WANTED, run_s=run_s, budget_s=budget_s)
    least = (found.runs, found.passes) == (MIN_RUNS, MIN_PASSES)
    assert least or seconds(found, run_s) <= budget_s * (1 + 1e-9)
    assert MIN_RUNS <= found.runs <= WANTED.runs
    assert MIN_PASSES <= found.passes <= WANTED.passes
    assert found.passes <= found.max_passes <= WANTED.max_passes
    if found != WANTED:
        assert found.max_passes == 2 * found.passes
        assert seconds(WANTED, run_s) > budget_s


def test_runs_go_before_passes():
    found = affordable(WANTED, run_s=1.0, budget_s=400)
    assert (found.runs, found.passes) == (47, 7)


def test_a_slow_set_of_models_gets_the_least():
    found = affordable(WANTED, run_s=10.0, budget_s=100)
    assert (found.runs, found.passes, found.max_passes) == (MIN_RUNS, MIN_PASSES, 6)


def test_the_pilot_counts_every_model(vocabulary):
    graphs = {f"{copy} {block.key}": block.graph for copy in range(8)
              for block in vocabulary.blocks}
    runtime, rng = this_runtime(), np.random.default_rng(0)
    few = dict(list(graphs.items())[:len(vocabulary.blocks)])
    all_s, few_s = (min(pilot_s(graph_models(some, runtime=runtime, seed=0), runtime, rng)
                        for _ in range(3)) for some in (graphs, few))
    assert 2 < all_s / few_s < 32  # eight times as many
