import os

import numpy as np
import onnx
import pytest

from hardware_profiles.cores import on_core, own_cores
from hardware_profiles.measure import (
    agreeing_passes,
    measure,
    measure_file,
    pass_minima_ms,
    protocol_for,
    summarise,
    this_runtime,
)
from hardware_profiles.onnx_blocks import empty_graph, onnx_model
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.profile import MeasureProtocol
from nas.core.errors import ProfileError

QUICK = MeasureProtocol(warm_up=1, runs=5, passes=2, max_passes=3)


def passes(*cpu_us: list[float]) -> list[PassTimes]:
    """Passes whose wall clock runs 10 % longer than the CPU clock."""
    made = []
    for row in cpu_us:
        cpu = (np.array(row) * 1000).astype(np.int64)
        wall = (cpu * 1.1).astype(np.int64)
        made.append(PassTimes(cpu, wall, int(cpu.sum()), int(wall.sum())))
    return made


def empty_model(batch: int = 1) -> bytes:
    rng = np.random.default_rng(0)
    return onnx_model(empty_graph((4,)), batch=batch, rng=rng).SerializeToString()


def test_the_statistic_is_the_median_of_the_minima_of_agreeing_passes():
    protocol = MeasureProtocol(passes=3)
    timing = summarise(passes([10.0, 12], [10.2, 30], [10.4, 11], [15, 16]), protocol)
    assert timing.latency_ms == pytest.approx(0.0102)
    assert timing.pass_ms == pytest.approx((0.010, 0.0102, 0.0104, 0.015))
    assert (timing.agreeing, timing.stable, timing.runs) == (3, True, 8)
    assert timing.wall_min_ms == pytest.approx(0.011)


def test_passes_that_disagree_make_a_timing_unstable():
    timing = summarise(passes([10.0], [11.0], [12.0]), MeasureProtocol(passes=2))
    assert (timing.agreeing, timing.stable) == (1, False)
    assert timing.latency_ms == pytest.approx(0.010)


def test_a_run_that_the_cpu_clock_lost_part_of_does_not_count():
    one = passes([10.2] * 9 + [10.2])[0]
    one.cpu_ns[4] = 3900  # while its wall time is that of the others
    assert pass_minima_ms([one]) == pytest.approx([0.0102])


def test_passes_agree_within_the_tolerance_of_the_fastest():
    assert agreeing_passes(np.array([1.04, 1.0, 1.06, 3.0]), 0.05).tolist() == [0, 1]


def test_every_model_is_timed_and_progress_ends_at_its_total(vocabulary):
    models = {block.key: onnx_model(block.graph, batch=1, rng=np.random.default_rng(0))
              for block in vocabulary.blocks[:3]}
    seen: list[tuple[int, int]] = []
    found = measure({key: model.SerializeToString for key, model in models.items()},
                    runtime=this_runtime(), protocol=QUICK, rng=np.random.default_rng(0),
                    progress=lambda done, total: seen.append((done, total)))
    assert set(found.timings) == set(models)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][0] == seen[-1][1] <= QUICK.max_passes * len(models)
    assert found.wall_over_cpu > 0
    for timing in found.timings.values():
        assert QUICK.passes <= len(timing.pass_ms) <= QUICK.max_passes
        assert 0 < timing.cpu_min_ms <= timing.latency_ms
        assert timing.wall_min_ms <= timing.wall_median_ms <= timing.wall_p95_ms
        assert timing.stable == (timing.agreeing >= QUICK.passes)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_threads_get_a_core_each_and_give_the_affinity_back():
    before = os.sched_getaffinity(0)
    found = measure({"empty": empty_model}, runtime=this_runtime(threads=2), protocol=QUICK,
                    rng=np.random.default_rng(0))
    assert found.timings["empty"].latency_ms > 0
    assert found.wall_over_cpu >= 1.0
    assert os.sched_getaffinity(0) == before
    with on_core(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
        with pytest.raises(ProfileError, match=r"2 threads need 2 cores, .* may use 1"):
            own_cores(2)
    assert os.sched_getaffinity(0) == before


def test_physical_cores_come_before_their_second_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for core in range(4):  # 0 and 1 are one core, 2 and 3 another
        listed = tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list"
        listed.parent.mkdir(parents=True)
        listed.write_text(f"{core // 2 * 2}-{core // 2 * 2 + 1}\n")
    assert own_cores(1, tmp_path) == ()
    assert own_cores(2, tmp_path) == (0, 2)
    assert own_cores(3, tmp_path) == (0, 2, 1)


def test_another_device_is_timed_by_the_wall_clock():
    protocol = protocol_for(this_runtime(provider="CUDAExecutionProvider"))
    assert (protocol.timer, protocol.statistic) == ("wall", "wall_min_median")
    quick = QUICK.model_copy(update={"timer": "wall"})
    found = measure({"empty": empty_model}, runtime=this_runtime(), protocol=quick,
                    rng=np.random.default_rng(0))
    assert found.timings["empty"].cpu_min_ms == pytest.approx(
        found.timings["empty"].wall_min_ms, rel=0.2)
    assert found.wall_over_cpu == pytest.approx(1.0, rel=0.05)


def test_a_provider_that_is_not_there_is_an_error():
    runtime = this_runtime().model_copy(update={"provider": "TensorrtExecutionProvider"})
    with pytest.raises(ProfileError, match="has no TensorrtExecutionProvider"):
        measure({"empty": empty_model}, runtime=runtime, protocol=QUICK,
                rng=np.random.default_rng(0))


def test_a_file_with_a_dynamic_batch_axis_is_timed(tmp_path):
    model = onnx.load_model_from_string(empty_model())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "model.onnx")
    for precision in ("fp32", "fp16"):
        runtime = this_runtime(batch=3, precision=precision)
        assert measure_file(tmp_path / "model.onnx", runtime).latency_ms > 0


def test_another_dynamic_axis_is_an_error(tmp_path):
    model = onnx.load_model_from_string(empty_model())
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ProfileError, match="only its first axis may be dynamic"):
        measure_file(tmp_path / "model.onnx", this_runtime())


def test_a_missing_or_damaged_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ProfileError, match=r"cannot be read \(No such file"):
        measure_file(tmp_path / "none.onnx", this_runtime())
    (tmp_path / "bad.onnx").write_bytes(b"not onnx")
    for precision in ("fp32", "int8"):
        with pytest.raises(ProfileError, match=r"cannot load .*bad\.onnx") as caught:
            measure_file(tmp_path / "bad.onnx", this_runtime(precision=precision))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("models", "opened"), [(3, 3), (2, 4)])
def test_sessions_stay_open_while_the_memory_lasts(models, opened, monkeypatch):
    data = empty_model()
    # The process cannot be told to grow; the models count as its least.
    monkeypatch.setattr("hardware_profiles.measure.resident_bytes", lambda: 0)
    monkeypatch.setattr("hardware_profiles.measure.KEPT_SESSION_BYTES", models * len(data))
    made = []

    def make():
        made.append(data)
        return data

    measure({str(key): make for key in range(3)}, runtime=this_runtime(),
            protocol=MeasureProtocol(warm_up=1, runs=5, passes=2, max_passes=2),
            rng=np.random.default_rng(0))
    assert len(made) == opened  # that which was not kept, once a pass
