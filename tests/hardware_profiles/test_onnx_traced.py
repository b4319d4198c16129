"""Graphs traced from timm models, as ONNX: valid, of their shapes at any batch, and exact."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hardware_profiles.features import graph_features, kernel_kind
from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.onnx_operators import WRITERS
from hardware_profiles.profile import Runtime
from hardware_profiles.session import Model, open_session
from nas.core.blocks import BlockGraph, OpSpec, TensorSpec
from nas.core.costs import macs
from supernets.tracing import trace_block, trace_segments

LEARNT = ("weight", "bias", "scale", "constant", "left")  # roles of initializers
STATISTICS = {"mean": "running_mean", "var": "running_var"}


def meta_model(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **options).eval()


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = open_session(Model("test", model.SerializeToString()), Runtime(version="any"))
    return session.run(None, {model.graph.input[0].name: x})[0]


@pytest.mark.parametrize(("name", "block", "shape"), [
    ("efficientnet_b0", "blocks.2.1", (40, 14, 14)),
    ("tf_efficientnet_b0", "blocks.1.0", (16, 15, 15)),  # padded on one side more
    ("mobilenetv3_small_100", "blocks.1.1", (24, 14, 14)),
    ("mobilenetv2_100", "blocks.1.1", (24, 14, 14)),
    ("mobilenetv4_conv_small", "blocks.2.1", (96, 14, 14)),
    ("mobilenetv4_hybrid_medium", "blocks.3.8", (256, 8, 8)),
    ("resnet50", "layer2.0", (256, 14, 14)),
    ("resnext50_32x4d", "layer1.1", (256, 14, 14)),
    ("resnet50d", "layer2.0", (256, 15, 15)),  # average pool that rounds up
    ("resnetblur50", "layer2.0", (256, 14, 14)),  # mirrored borders
    ("ecaresnet50t", "layer1.1", (256, 14, 14)),
    ("vit_tiny_patch16_224", "blocks.1", (10, 192)),
    ("deit3_small_patch16_224", "blocks.1", (10, 384)),
    ("convnext_atto", "stages.1.blocks.0", (80, 14, 14)),
    ("convnextv2_atto", "stages.1.blocks.0", (80, 14, 14)),
    ("convnext_tiny", "stages.1.downsample", (96, 14, 14)),
])
def test_traced_blocks_run_in_onnx_runtime_at_any_batch(name: str, block: str,
                                                        shape: tuple[int, ...]) -> None:
    graph = trace_block("block", meta_model(name).get_submodule(block), shape).graph
    for batch in (1, 3):
        model = onnx_model(graph, batch=batch, rng=np.random.default_rng(0))
        onnx.checker.check_model(model, full_check=True)
        x = np.random.default_rng(1).standard_normal((batch, *shape), dtype=np.float32)
        y = run(model, x)
        assert y.shape == (batch, *graph.output.shape)
        assert np.isfinite(y).all()
    features = graph_features(graph)
    assert sum(v for name, v in features.items() if name.startswith("macs:")) == macs(graph)


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    # No tensor stays at a neutral value; branches keep about the size of their inputs.
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() > 1 and "weight" in name:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                around = 1.0 if name.endswith(("weight", "gamma", "var")) else 0.0
                tensor.copy_(around + 0.1 * noise.clamp(-2, 2))


class Uses(TorchFunctionMode):
    """Notes the parameters of a model in the order in which it uses them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.parameters = dict(model.named_parameters())
        self.order: dict[str, Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        for name, parameter in self.parameters.items():
            if any(value is parameter for value in (*args, *(kwargs or {}).values())):
                weight = name.replace("bias", "weight")  # in the graph it always comes first
                self.order |= {key: self.parameters[key] for key in (weight, name)
                               if key in self.parameters and key not in self.order}
        return function(*args, **(kwargs or {}))


def give_weights(onnx_net: onnx.ModelProto, model: nn.Module, parameters: list[Tensor]) -> None:
    """Writes a module's numbers into the model built from its graph, each used once."""
    parameters = list(parameters)
    buffers = dict(model.named_buffers())
    statistics = {role: [b for name, b in buffers.items() if name.endswith(suffix)]
                  for role, suffix in STATISTICS.items()}
    factors = {name for node in onnx_net.graph.node if node.op_type == "MatMul"
               for name in node.input}
    for tensor in onnx_net.graph.initializer:
        role, shape = tensor.name.split(".")[1], tuple(tensor.dims)
        if role in STATISTICS:
            value = statistics[role].pop(0)
        elif role in LEARNT:
            value = parameters.pop(0).detach()
            if tensor.name in factors:  # torch keeps them transposed
                value = value.T
            elif value.numel() < int(np.prod(shape)):
                value = value.expand(shape)  # for every image of the batch
        else:
            continue
        array = value.reshape(shape).contiguous().numpy()
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert not parameters
    assert not any(statistics.values())


@pytest.mark.parametrize(("name", "side"), [
    ("test_efficientnet", 64), ("test_resnet", 64), ("test_convnext", 64), ("test_vit", 160),
    ("test_vit2", 160), ("test_convnext2", 64), ("mobilenetv3_small_050", 64),
])
def test_traced_networks_compute_what_torch_does(name: str, side: int) -> None:
    model = timm.create_model(name).eval()
    randomise(model, torch.Generator().manual_seed(0))
    graph = trace_segments(meta_model(name), (3, side, side), ())[0]
    built = onnx_model(graph, batch=3, rng=np.random.default_rng(0))
    x = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), Uses(model) as uses:
        expected = model(x).numpy()
    give_weights(built, model, list(uses.order.values()))
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(run(built, x.numpy()), expected, rtol=1e-2,
                               atol=2e-3 * float(np.std(expected)))


@pytest.mark.parametrize("function", [
    lambda x: functional.interpolate(x, scale_factor=3.0, mode="nearest"),
    lambda x: functional.interpolate(x, size=(8, 4), mode="bilinear"),
    lambda x: functional.normalize(x, dim=-1),
])
def test_operators_without_weights_compute_what_torch_does(
        function: Callable[[Tensor], Tensor]) -> None:
    module = nn.Module().eval()
    module.forward = function
    graph = trace_block("block", module, (2, 4, 4)).graph
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    built = onnx_model(graph, batch=3, rng=np.random.default_rng(0))
    np.testing.assert_allclose(run(built, x.numpy()), function(x).numpy(), rtol=1e-5, atol=1e-6)


def test_every_operator_that_can_be_written_has_a_kind_of_kernel() -> None:
    for kind in WRITERS:
        node = OpSpec(kind, ("x",), TensorSpec("y", (4, 2, 2)))
        assert kernel_kind(node, (4, 2, 2)) is None or graph_features(
            BlockGraph((TensorSpec("x", (4, 2, 2)),), (node,)))
