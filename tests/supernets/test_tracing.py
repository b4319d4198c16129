"""Graphs traced from timm models: counted as torch counts them, cut into blocks, or refused."""

from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.core.blocks import BlockGraph, chain, keyed
from nas.core.costs import activation_bytes, macs, params
from nas.core.errors import SpaceError
from nas.evaluation.efficiency import count_activation_bytes
from supernets.mobilenet.blocks import inverted_residual_block
from supernets.mobilenet.config import BlockPlan
from supernets.tracing import trace_block, trace_segments

MODELS = [
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium", "mnasnet_small", "efficientnet_b0", "efficientnet_b0_gn",
    "tf_efficientnet_lite0", "tf_efficientnet_b0", "tf_efficientnetv2_b0", "resnet18", "resnet50",
    "resnet50d", "resnext50_32x4d", "wide_resnet50_2", "seresnet50", "ecaresnet50t",
    "resnetblur50", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "deit3_small_patch16_224",
    "vit_small_patch14_dinov2", "convnext_atto", "convnext_tiny", "convnextv2_atto",
]


def meta_model(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **options).eval().requires_grad_(False)


def torch_macs(model: nn.Module, shape: tuple[int, ...]) -> float:
    with FlopCounterMode(display=False) as counter:
        model(torch.empty((1, *shape), device="meta"))
    return counter.get_total_flops() / 2


def whole(model: nn.Module, shape: tuple[int, ...]) -> BlockGraph:
    return trace_block("whole", model, shape).graph


@pytest.mark.parametrize("name", MODELS)
def test_costs_of_whole_models_are_those_that_torch_counts(name: str) -> None:
    model = meta_model(name)
    shape = model.default_cfg["input_size"]
    graph = whole(model, shape)
    assert macs(graph) == torch_macs(model, shape)
    assert params(graph) == sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        assert graph.output.shape == model(torch.empty((1, *shape), device="meta")).shape[1:]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    if hasattr(model, "layer1"):
        stages = [getattr(model, f"layer{index}") for index in range(1, 5)]
    elif hasattr(model, "stages"):
        stages = [stage.blocks for stage in model.stages]
    else:
        stages = list(model.blocks)
    return [block for stage in stages
            for block in (stage if isinstance(stage, nn.Sequential) else [stage])]


@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "tf_efficientnet_b0", "resnet18",
                                  "vit_tiny_patch16_224", "convnextv2_atto"])
def test_blocks_and_what_lies_between_them_are_the_whole(name: str) -> None:
    model = meta_model(name)
    shape = model.default_cfg["input_size"]
    blocks = blocks_of(model)
    segments = trace_segments(model, shape, blocks)
    assert len(segments) == len(blocks) + 1
    assert segments[0] is not None
    assert segments[-1] is not None
    assert segments[0].inputs[0].shape == shape
    found = [keyed("stem", segments[0])]
    for block, segment in zip(blocks, segments[1:], strict=True):
        found.append(trace_block("block", block, found[-1].graph.output.shape))
        if segment is not None:
            found.append(keyed("between", segment))
    expected, joined = whole(model, shape), chain(found)  # which checks every shape
    assert [node.kind for node in joined.nodes] == [node.kind for node in expected.nodes]
    assert macs(joined) == macs(expected)
    assert params(joined) == params(expected)
    assert activation_bytes(joined) == activation_bytes(expected)
    between = sum(segment is not None for segment in segments[1:-1])
    assert between == (3 if "convnext" in name else 0)  # downsampling stands in front of stages


@pytest.mark.parametrize(("stride", "se"), [(1, 0.25), (2, 0.25), (1, 0.0)])
def test_a_traced_inverted_residual_is_the_one_written_by_hand(stride: int, se: float) -> None:
    plan = BlockPlan(0, 1, 16, 16, 5, 3, stride, se)
    written = inverted_residual_block(plan, (7, 7), "silu")
    squeeze = partial(SqueezeExcite, rd_channels=plan.se_width) if se else None
    with torch.device("meta"):
        module = InvertedResidual(16, 16, dw_kernel_size=5, stride=stride, exp_ratio=3.0,
                                  act_layer=nn.SiLU, se_layer=squeeze).eval()
    assert trace_block("ir", module, (16, 7, 7)) == written


@pytest.mark.parametrize("name", ["test_efficientnet", "mobilenetv3_small_050"])
def test_activation_memory_is_that_counted_on_the_module(name: str) -> None:
    graph = whole(meta_model(name), (3, 32, 32))
    module = timm.create_model(name)
    for part in module.modules():  # the counter knows these by another name
        if isinstance(part, nn.Hardsigmoid):
            part.forward = torch.sigmoid
    assert activation_bytes(graph) == count_activation_bytes(module, torch.zeros(1, 3, 32, 32))


def function(body: Callable[[Tensor], object], **parameters: tuple[int, ...]) -> nn.Module:
    """A module of one function, which finds the parameters as attributes of itself."""
    with torch.device("meta"):
        module = nn.Module()
        for name, shape in parameters.items():
            module.register_parameter(name, nn.Parameter(torch.empty(shape)))
    module.forward = partial(body, module) if parameters else body
    return module.eval()


def kinds(module: nn.Module, *shape: int) -> list[str]:
    return [node.kind for node in whole(module, shape).nodes]


def test_in_place_operators_are_their_plain_kinds() -> None:
    def body(x: Tensor) -> Tensor:
        y = F.relu(x, inplace=True)  # x is y from here on
        y *= 2
        return y.add_(x)

    graph = whole(function(body), (4, 3, 3))
    assert [node.kind for node in graph.nodes] == ["relu", "mul_scalar", "add"]
    assert graph.nodes[2].inputs == ("t1", "t1")


def test_what_does_nothing_in_evaluation_mode_is_not_there() -> None:
    module = function(lambda x: F.dropout(x.contiguous().detach(), 0.5, False).to(x.dtype).tanh())
    assert kinds(module, 4) == ["tanh"]
    assert kinds(function(lambda x: x.reshape(-1, 4).permute(0, 1)[:, :4].relu()), 4) == ["relu"]


def test_operators_that_nobody_reads_are_left_out() -> None:
    assert kinds(function(lambda x: (x.sigmoid(), x.relu())[1]), 4) == ["relu"]


def test_what_depends_on_parameters_alone_is_one_constant_whose_parameters_count_once() -> None:
    def body(self: nn.Module, x: Tensor) -> Tensor:
        table = F.interpolate(self.table.reshape(1, 2, 2, 5).permute(0, 3, 1, 2), size=(3, 3))
        scaled = x * self.gain.exp()
        return (scaled + table) * self.gain

    graph = whole(function(body, table=(1, 4, 5), gain=(5, 1, 1)), (5, 3, 3))
    assert [node.kind for node in graph.nodes] == ["scale", "shift", "scale"]
    assert [node.attribute("params") for node in graph.nodes] == [5, 20, 0]
    assert graph.nodes[1].attribute("shape") == (1, 5, 3, 3)
    assert params(graph) == 25


def test_a_layer_that_runs_twice_has_its_parameters_once() -> None:
    with torch.device("meta"):
        layer = nn.Linear(4, 4)
    module = nn.Sequential(layer, nn.ReLU(), layer).eval()
    graph = whole(module, (4,))
    assert (params(graph), macs(graph)) == (20, 32)


def test_the_batch_is_left_out_wherever_it_stands() -> None:
    def body(x: Tensor) -> Tensor:
        windows = x.reshape(-1, 2, 3, 4).permute(2, 0, 1, 3)  # (3, 2B, 2, 4)
        return windows[1].reshape(x.shape[0], 4, 4)

    nodes = whole(function(body), (4, 3, 4)).nodes
    assert [node.output.shape for node in nodes] == [(2, 2, 3, 4), (3, 2, 2, 4), (2, 2, 4), (4, 4)]
    assert nodes[0].attribute("shape") == (-1, 2, 3, 4)
    assert nodes[1].attribute("axes") == (2, 0, 1, 3)
    assert (nodes[2].attribute("axis"), nodes[2].attribute("index")) == (0, 1)
    assert nodes[3].attribute("shape") == (-1, 4, 4)


def test_attention_is_taken_apart_and_both_products_count() -> None:
    def body(x: Tensor) -> Tensor:
        q, k, v = x.reshape(-1, 6, 3, 2, 5).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v)

    graph = whole(function(body), (6, 30))
    assert macs(graph) == 2 * 2 * 6 * 6 * 5
    assert [node.kind for node in graph.nodes if node.kind not in (
        "reshape", "permute", "select")] == ["mul_scalar", "matmul", "softmax", "matmul"]


def test_attention_of_a_learnt_query_counts_its_products() -> None:
    def body(self: nn.Module, x: Tensor) -> Tensor:
        query = self.query.expand(x.shape[0], -1, -1)
        return F.scaled_dot_product_attention(query, x, x)

    graph = whole(function(body, query=(1, 2, 5)), (6, 5))
    assert (macs(graph), params(graph)) == (2 * 2 * 6 * 5, 10)
    assert graph.output.shape == (2, 5)


def skipping(self: nn.Module, x: Tensor) -> Tensor:
    return self.second(self.first(x)) + x


class Net(nn.Module):
    """Two layers, run by a function."""

    def __init__(self, run: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.first, self.second, self.run = nn.Linear(4, 4), nn.Linear(4, 4), run

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


@pytest.mark.parametrize(("run", "message"), [
    (lambda net, x: net.second(net.first(torch.erf(x))), r"Net on inputs \(4,\): operator 'erf'"),
    (lambda net, x: net.first(x[:, :3]), r"Linear \(first\) .*linear: sizes 4 and 3 do not fit"),
    (lambda net, x: net.first(x).mean(0), "mixes the images"),
    (lambda net, x: net.first(x) + x.sum().item(), "operator 'sum'"),
    (lambda net, x: (net.first(x), x), "gives tuple"),
    (lambda *_: torch.zeros(1, device="meta"), "gives Tensor, not one tensor made of"),
    (lambda net, x: net.first(x).T, "operator 'T'"),
    (lambda net, x: F.dropout(net.first(x)), "dropout that is on"),
    (lambda net, x: net.first(x).reshape(-1, 2), "batch axis"),
    (lambda _, x: F.conv2d(x.reshape(-1, 4, 1, 1), torch.empty(2, 4, 3, 1, device="meta")),
     "both sides must be equal"),
])
def test_what_cannot_be_traced_is_refused_in_one_line(
        run: Callable[[nn.Module, Tensor], object], message: str) -> None:
    with torch.device("meta"):
        net = Net(run).eval()
    with pytest.raises(SpaceError, match=message) as caught:
        trace_block("net", net, (4,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("layer", "change", "shape"), [
    (lambda: nn.Conv2d(4, 6, 3), {"bias": 5}, (4, 5, 5)),
    (lambda: nn.Conv2d(4, 6, 3), {}, (5, 5, 5)),
    (lambda: nn.Conv2d(4, 4, 3), {}, (4, 2, 2)),
    (lambda: nn.Linear(4, 6), {"bias": 5}, (4,)),
    (lambda: nn.BatchNorm2d(4), {"weight": 5}, (4, 5, 5)),
    (lambda: nn.BatchNorm2d(4), {}, (5, 5, 5)),
    (lambda: nn.LayerNorm(4), {"bias": 5}, (3, 4)),
    (lambda: nn.LayerNorm(4), {}, (3, 5)),
    (lambda: nn.GroupNorm(2, 4), {}, (6, 5, 5)),
    (lambda: nn.RMSNorm(4), {"weight": 3}, (3, 4)),
])
def test_weights_that_do_not_fit_are_refused(layer: Callable[[], nn.Module],
                                             change: dict[str, int],
                                             shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        module = layer().eval()
        for name, size in change.items():
            setattr(module, name, nn.Parameter(torch.empty(size)))
    with pytest.raises(SpaceError, match=r"do not fit|leaves nothing"):
        trace_block("net", module, shape)


@given(kernel=st.integers(1, 5), stride=st.integers(1, 3), padding=st.integers(0, 3),
       dilation=st.integers(1, 2), groups=st.sampled_from((1, 2, 4)), side=st.integers(10, 16),
       bias=st.booleans(), axes=st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_convolutions_of_any_settings_have_torchs_shape_and_costs(
        kernel: int, stride: int, padding: int, dilation: int, groups: int, side: int, bias: bool,
        axes: int) -> None:
    with torch.device("meta"):
        conv = (nn.Conv1d, nn.Conv2d)[axes - 1](
            4, 8, kernel, stride, padding, dilation, groups, bias).eval().requires_grad_(False)
    shape = (4, *(side + axis for axis in range(axes)))
    graph = whole(conv, shape)
    assert graph.output.shape == conv(torch.empty((1, *shape), device="meta")).shape[1:]
    assert macs(graph) == torch_macs(conv, shape)
    assert params(graph) == sum(parameter.numel() for parameter in conv.parameters())


def test_an_operator_that_is_not_known_is_named_with_its_module() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Softplus())).eval()
    with pytest.raises(SpaceError, match=r"Softplus \(1.0\) .*operator 'softplus' has no block"):
        trace_block("net", net, (4,))


def test_modules_that_are_not_ready_are_refused() -> None:
    with pytest.raises(SpaceError, match="training mode"):
        trace_block("net", nn.Linear(4, 4), (4,))
    with pytest.raises(SpaceError, match="weight is on cpu"):
        trace_block("net", nn.Linear(4, 4).eval(), (4,))
    with pytest.raises(SpaceError, match="no operator"):
        trace_block("net", nn.Identity().eval(), (4,))


@pytest.mark.parametrize(("run", "message"), [
    (skipping, "made before the block"),
    (lambda net, x: net.first(net.second(x)), "not called in its turn"),
    (lambda net, x: net.first(x), "calls 1 of its 2 blocks"),
])
def test_models_that_cannot_be_cut_are_refused(run: Callable[[nn.Module, Tensor], object],
                                               message: str) -> None:
    with torch.device("meta"):
        net = Net(run).eval()
    with pytest.raises(SpaceError, match=message):
        trace_segments(net, (4,), [net.first, net.second])
    assert not net.first._forward_hooks  # nothing is left behind
    assert not net.first._forward_pre_hooks


def test_segments_may_be_empty() -> None:
    with torch.device("meta"):
        net = Net(lambda net, x: net.second(net.first(x).relu())).eval()
    before, between, after = trace_segments(net, (4,), [net.first, net.second])
    assert before is None
    assert after is None
    assert between is not None
    assert [node.kind for node in between.nodes] == ["relu"]
