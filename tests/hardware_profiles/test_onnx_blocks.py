import warnings
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite

from hardware_profiles.onnx_blocks import empty_graph, onnx_model
from hardware_profiles.profile import Runtime
from hardware_profiles.session import Model, open_session
from nas.core.blocks import BlockGraph, GraphBuilder, OpSpec, TensorSpec, chain
from nas.core.errors import ProfileError
from supernets.mobilenet.blocks import build_vocabulary, inverted_residual_block
from supernets.mobilenet.config import BlockPlan, build_space
from supernets.mobilenet.supernet import MobileNetSupernet

RUNTIME = Runtime(version="any")


def optimised(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The node types that ONNX Runtime is left with, in order."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    open_session(Model("test", model.SerializeToString()), RUNTIME, options=options)
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def exported(module: torch.nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(module.eval(), (torch.randn(1, *shape),), dynamo=True,
                                    verbose=False)
    return program.model_proto


def run(graph: BlockGraph, x: np.ndarray) -> np.ndarray:
    model = onnx_model(graph, batch=len(x), rng=np.random.default_rng(0))
    session = open_session(Model("test", model.SerializeToString()), RUNTIME)
    return session.run(None, {graph.inputs[0].name: x})[0]


def test_every_shipped_block_is_valid_onnx_of_its_shapes(shipped_config):
    rng = np.random.default_rng(0)
    vocabulary = build_vocabulary(shipped_config, build_space(shipped_config))
    for block in vocabulary.blocks[::7]:
        model = onnx_model(block.graph, batch=2, rng=rng)
        onnx.checker.check_model(model, full_check=True)
        shape = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
        assert shape == [2, *block.graph.output.shape]


def test_pointwise_operators_compute_what_their_names_say():
    for kind in ("silu", "hard_swish", "sigmoid", "hard_sigmoid", "relu"):
        x = np.random.default_rng(1).standard_normal((4, 2, 3, 3), dtype=np.float32)
        graph = GraphBuilder(TensorSpec("x", (2, 3, 3)))
        graph.unary(kind, graph.input)
        sigmoid = 1 / (1 + np.exp(-x))
        expected = {"silu": x * sigmoid, "sigmoid": sigmoid, "relu": np.maximum(x, 0),
                    "hard_sigmoid": np.clip(x + 3, 0, 6) / 6,
                    "hard_swish": x * np.clip(x + 3, 0, 6) / 6}[kind]
        np.testing.assert_allclose(run(graph.build(), x), expected, rtol=1e-5, atol=1e-6)


def test_pool_flatten_and_binary_operators_compute_what_their_names_say():
    x = np.random.default_rng(1).standard_normal((4, 2, 3, 3), dtype=np.float32)
    graph = GraphBuilder(TensorSpec("x", (2, 3, 3)))
    scaled = graph.binary("mul", graph.input, graph.global_avg_pool(graph.input))
    graph.flatten(graph.binary("add", scaled, graph.input))
    expected = x * x.mean((2, 3), keepdims=True) + x
    np.testing.assert_allclose(run(graph.build(), x), expected.reshape(4, -1), rtol=1e-5, atol=1e-6)


def test_an_unknown_operator_is_an_error():
    graph = BlockGraph((TensorSpec("x", (2,)),), (OpSpec("erf", ("x",), TensorSpec("y", (2,))),))
    with pytest.raises(ProfileError, match="'erf' has no ONNX form"):
        onnx_model(graph, batch=1, rng=np.random.default_rng(0))


def test_an_empty_graph_runs():
    x = np.array([[-1.0, 2.0]], dtype=np.float32)
    np.testing.assert_array_equal(run(empty_graph((2,)), x), [[0.0, 2.0]])


@pytest.mark.parametrize(("activation", "layer"), [("hard_swish", torch.nn.Hardswish),
                                                   ("silu", torch.nn.SiLU)])
def test_a_block_is_optimised_to_the_nodes_of_its_torch_export(activation, layer, tmp_path):
    plan = BlockPlan(0, 1, 16, 16, 5, 3, 1, 0.25)
    block = inverted_residual_block(plan, (7, 7), activation)
    squeeze = partial(SqueezeExcite, rd_channels=plan.se_width)
    module = InvertedResidual(16, 16, dw_kernel_size=5, exp_ratio=3.0, act_layer=layer,
                              se_layer=squeeze)
    ours = onnx_model(block.graph, batch=1, rng=np.random.default_rng(0))
    theirs = exported(module, (16, 7, 7))
    assert ours.opset_import[0].version == theirs.opset_import[0].version
    assert optimised(ours, tmp_path) == optimised(theirs, tmp_path)


def test_a_network_is_optimised_to_the_nodes_of_its_torch_export(shipped_config, tmp_path):
    supernet = MobileNetSupernet(shipped_config, task=None).eval()
    arch = supernet.space.sample(np.random.default_rng(3))
    ids = supernet.block_ids(supernet.space.encode([arch]))[0]
    graph = chain([supernet.vocabulary[i] for i in ids if i >= 0])
    ours = onnx_model(graph, batch=1, rng=np.random.default_rng(0))
    theirs = exported(supernet.extract(arch), (1, 28, 28))
    assert optimised(ours, tmp_path) == optimised(theirs, tmp_path)
