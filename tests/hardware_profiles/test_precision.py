
import numpy as np
import onnx
import pytest

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.measure import this_runtime
from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.precision import executed_ops, in_precision, precision_remarks
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.session import Model, open_session
from nas.core.blocks import chain


@pytest.fixture(scope="module")
def network(space, vocabulary) -> onnx.ModelProto:
    """The largest network: it has squeeze-and-excite, skips and a classifier."""
    ids = vocabulary.block_ids(space.encode([space.extreme(largest=True)]))[0]
    graph = chain([vocabulary.blocks[i] for i in ids if i >= 0])
    return onnx_model(graph, batch=2, rng=np.random.default_rng(0))


def converted(network: onnx.ModelProto, precision) -> tuple[Model, list[str]]:
    model = in_precision(network, precision, np.random.default_rng(1))
    onnx.checker.check_model(model)
    made = Model(precision, model.SerializeToString())
    return made, executed_ops(made, this_runtime(precision=precision))


def outputs(model: Model, x: np.ndarray) -> np.ndarray:
    session = open_session(model, this_runtime())
    return session.run(None, {session.get_inputs()[0].name: x})[0].astype(np.float64)


def test_int8_runs_integer_kernels_from_end_to_end(network):
    convolutions = sum(node.op_type == "Conv" for node in network.graph.node)
    _, ops = converted(network, "int8")
    assert ops.count("QLinearConv") == convolutions
    assert {"BatchNormalization", "Conv", "Gemm"}.isdisjoint(ops)
    assert precision_remarks(ops, this_runtime(precision="int8")) == ()


@pytest.mark.parametrize(("precision", "error"), [("fp16", 0.01), ("int8", 0.2)])
def test_a_converted_network_computes_about_the_same(network, precision, error):
    rng = np.random.default_rng(1)
    # The very input that the ranges were taken from: int8 does not promise more for noise.
    x = rng.standard_normal((2, 1, 8, 8), dtype=np.float32)
    model, _ = converted(network, precision)
    given = x.astype(np.float16) if precision == "fp16" else x
    wanted = outputs(Model("fp32", network.SerializeToString()), x)
    difference = np.abs(outputs(model, given) - wanted).max()
    assert difference <= error * np.abs(wanted).max()


def test_fp32_is_left_as_it_is(network):
    assert in_precision(network, "fp32", np.random.default_rng(0)) is network


def test_equal_seeds_make_equal_models(network):
    first, second = (in_precision(network, "int8", np.random.default_rng(7)) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_nothing_is_left_behind_and_nothing_said(network, precision, tmp_path, monkeypatch, capfd,
                                                 caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    converted(network, precision)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_precisions_in_name_only_are_told():
    half, eight = (this_runtime(precision=precision) for precision in ("fp16", "int8"))
    assert precision_remarks(["Conv", "Relu"], half) == ()
    assert "casts to fp32" in precision_remarks(["Cast", "Conv"], half)[0]
    assert "no integer kernel" in precision_remarks(["Conv", "DequantizeLinear"], eight)[0]
    assert precision_remarks(["Cast"], this_runtime()) == ()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_profile_of_another_precision(space, vocabulary, precision):
    config = HostConfig(precision=precision, batch=2, calib_nets=4, test_nets=4, memory=False,
                        protocol=MeasureProtocol(warm_up=1, runs=3, passes=2, max_passes=2))
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=0, config=config)
    assert (profile.runtime.precision, profile.runtime.batch) == (precision, 2)
    assert f"-{precision}-" in profile.id
    _, ops = converted_largest(profile, space, vocabulary)
    told = any("casts to fp32" in line for line in profile.validity.warnings)
    assert told == (precision == "fp16" and "Cast" in ops)


def converted_largest(profile, space, vocabulary) -> tuple[Model, list[str]]:
    ids = vocabulary.block_ids(space.encode([space.extreme(largest=True)]))[0]
    graph = chain([vocabulary.blocks[i] for i in ids if i >= 0])
    return converted(onnx_model(graph, batch=2, rng=np.random.default_rng(0)),
                     profile.runtime.precision)
