import os
import sys

import numpy as np
import pytest

from hardware_profiles.measure import this_runtime
from hardware_profiles.memory import memory_probe, resident_bytes
from hardware_profiles.onnx_blocks import empty_graph, onnx_model
from nas.core.blocks import GraphBuilder, TensorSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
MIB = 2**20


def model(channels: int, side: int = 8) -> bytes:
    graph = GraphBuilder(TensorSpec("x", (channels, side, side)))
    graph.conv2d(graph.input, channels)
    return onnx_model(graph.build(), batch=1, rng=np.random.default_rng(0)).SerializeToString()


def empty() -> bytes:
    return onnx_model(empty_graph((8,)), batch=1, rng=np.random.default_rng(0)).SerializeToString()


@pytest.fixture(scope="module")
def probe():
    with memory_probe(this_runtime(), empty()) as probe:
        yield probe


def test_weights_and_activations_are_seen(probe):
    weights = probe.peak_bytes(model(2048, 2))  # 16 MiB of weights, 32 KiB of activations
    activations = probe.peak_bytes(model(16, 512))  # 1 KiB of weights, 2 × 16 MiB of activations
    assert 16 * MIB <= weights <= 96 * MIB
    assert 32 * MIB <= activations <= 128 * MIB


def test_models_do_not_add_up(probe):
    small = probe.peak_bytes(model(16))
    probe.peak_bytes(model(2048, 2))  # 16 MiB that the process had in its hands meanwhile
    assert probe.peak_bytes(model(16)) == pytest.approx(small, abs=MIB / 8)
    assert 0 < small <= 4 * MIB


def test_what_an_empty_graph_takes_is_none_rather_than_nothing(probe):
    assert probe.peak_bytes(empty()) is None


def test_what_cannot_run_has_no_peak_and_the_next_one_has(probe):
    assert probe.peak_bytes(b"no model") is None
    assert probe.peak_bytes(model(16)) is not None


def test_the_process_ends_with_the_probe():
    with memory_probe(this_runtime(), empty()) as probe:
        child = probe.process_id
        assert os.path.exists(f"/proc/{child}")  # noqa: PTH110
    assert not os.path.exists(f"/proc/{child}")  # noqa: PTH110


def test_a_provider_with_memory_of_its_own_has_no_probe():
    runtime = this_runtime(provider="CUDAExecutionProvider")
    with memory_probe(runtime, empty()) as probe:
        assert probe is None


def test_resident_memory_grows_with_what_is_held():
    before = resident_bytes()
    held = np.ones(64 * MIB // 8)
    assert resident_bytes() - before >= 60 * MIB
    del held
