import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import ArchError
from supernets.elastic.attention import ElasticSelfAttention
from supernets.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from supernets.elastic.linear import ElasticLinear
from supernets.elastic.norm import ElasticBatchNorm2d, ElasticLayerNorm


def shares_storage(view: Tensor, stored: Tensor) -> bool:
    return view.untyped_storage().data_ptr() == stored.untyped_storage().data_ptr()


class Spy:
    """Records the tensor arguments that a torch.nn.functional function gets."""

    def __init__(self, function: object) -> None:
        self.function = function
        self.seen: list[Tensor] = []

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.seen += [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_conv_slices_are_views(memory_format: torch.memory_format) -> None:
    conv = ElasticConv2d(16, 24, 3).to(memory_format=memory_format)
    view = conv.sliced(7, 5)
    assert view.shape == (5, 7, 3, 3)
    assert shares_storage(view, conv.weight)
    assert view.data_ptr() == conv.weight.data_ptr()
    torch.testing.assert_close(view, conv.weight[:5, :7])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_largest_depthwise_kernel_is_a_view(memory_format: torch.memory_format) -> None:
    conv = ElasticDepthwiseConv2d(16, (3, 5, 7)).to(memory_format=memory_format)
    view = conv.sliced(6, 7)
    assert view.shape == (6, 1, 7, 7)
    assert shares_storage(view, conv.weight)
    assert not shares_storage(conv.sliced(6, 5), conv.weight)


@pytest.mark.parametrize(("module", "function", "inputs", "argument"), [
    (ElasticConv2d(8, 8, bias=True), "conv2d", torch.zeros(1, 4, 2, 2), (3,)),
    (ElasticDepthwiseConv2d(8, (3, 5)), "conv2d", torch.zeros(1, 4, 6, 6), (5,)),
    (ElasticLinear(8, 8), "linear", torch.zeros(1, 4), (3,)),
    (ElasticLinear(8, 8, bias=False), "linear", torch.zeros(1, 4), (3,)),
    (ElasticLayerNorm(8), "layer_norm", torch.zeros(1, 3, 4), ()),
    (ElasticBatchNorm2d(8), "batch_norm", torch.zeros(2, 4, 2, 2), ()),
    (ElasticBatchNorm2d(8).eval(), "batch_norm", torch.zeros(2, 4, 2, 2), ()),
], ids=["conv", "depthwise", "linear", "linear-unbiased", "layer-norm", "norm", "norm-eval"])
def test_forward_hands_views_to_torch(module: nn.Module, function: str, inputs: Tensor,
                                      argument: tuple[int, ...],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(getattr(torch.nn.functional, function))
    monkeypatch.setattr(torch.nn.functional, function, spy)
    module(inputs, *argument)
    stored = [*module.parameters(), *module.buffers()]
    weights = [tensor for tensor in spy.seen if tensor is not inputs]
    assert weights
    for tensor in weights:
        assert any(shares_storage(tensor, s) for s in stored)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_conv_equals_a_stock_layer(kernel: int, stride: int) -> None:
    conv = ElasticConv2d(12, 10, kernel, stride=stride, bias=True)
    nn.init.normal_(conv.bias)
    stock = nn.Conv2d(5, 7, kernel, stride=stride, padding=kernel // 2)
    stock.load_state_dict({"weight": conv.weight[:7, :5], "bias": conv.bias[:7]})
    x = torch.randn(2, 5, 9, 8)
    torch.testing.assert_close(conv(x, 7), stock(x))


def test_kernel_maps_at_the_identity_give_the_centre() -> None:
    conv = ElasticDepthwiseConv2d(6, (3, 5, 7))
    torch.testing.assert_close(conv.sliced(4, 5), conv.weight[:4, :, 1:6, 1:6], rtol=0, atol=0)
    torch.testing.assert_close(conv.sliced(4, 3), conv.weight[:4, :, 2:5, 2:5], rtol=0, atol=0)


def test_kernel_maps_are_applied_one_step_after_the_other() -> None:
    conv = ElasticDepthwiseConv2d(6, (3, 5, 7))
    for parameter in conv.kernel_maps.values():
        nn.init.normal_(parameter)
    large = conv.weight[:, 0, 1:6, 1:6].reshape(6, 25) @ conv.kernel_maps["7to5"]
    torch.testing.assert_close(conv.sliced(6, 5), large.reshape(6, 1, 5, 5))
    small = large.reshape(6, 5, 5)[:, 1:4, 1:4].reshape(6, 9) @ conv.kernel_maps["5to3"]
    torch.testing.assert_close(conv.sliced(6, 3), small.reshape(6, 1, 3, 3))
    torch.testing.assert_close(conv.sliced(2, 3), conv.sliced(6, 3)[:2])


def test_depthwise_conv_keeps_the_image_size_with_every_kernel() -> None:
    conv = ElasticDepthwiseConv2d(6, (3, 5, 7), stride=2)
    x = torch.randn(2, 4, 9, 8)
    assert {tuple(conv(x, kernel).shape) for kernel in (3, 5, 7)} == {(2, 4, 5, 4)}


def test_only_the_slice_that_ran_gets_gradients() -> None:
    conv = ElasticConv2d(8, 8)
    conv(torch.randn(2, 3, 4, 4), 5).square().sum().backward()
    gradient = conv.weight.grad
    assert gradient is not None
    assert (gradient[:5, :3] != 0).all()
    assert gradient.count_nonzero() == 15


def test_linear_equals_a_stock_layer() -> None:
    linear = ElasticLinear(12, 10)
    nn.init.normal_(linear.bias)
    stock = nn.Linear(5, 7)
    stock.load_state_dict({"weight": linear.weight[:7, :5], "bias": linear.bias[:7]})
    x = torch.randn(3, 5)
    torch.testing.assert_close(linear(x, 7), stock(x))


@pytest.mark.parametrize("training", [True, False])
def test_norm_equals_a_stock_layer(training: bool) -> None:
    norm, stock = ElasticBatchNorm2d(8).train(training), nn.BatchNorm2d(5).train(training)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    stock.load_state_dict({name: tensor[:5] for name, tensor in norm.state_dict().items()},
                          strict=False)
    x = torch.randn(4, 5, 3, 3)
    torch.testing.assert_close(norm(x), stock(x))


@pytest.mark.parametrize("training", [True, False])
def test_norm_writes_nothing(training: bool) -> None:
    norm = ElasticBatchNorm2d(8).train(training)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    norm(3 + torch.randn(4, 5, 3, 3))
    for name, tensor in norm.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_layer_norm_equals_a_stock_layer() -> None:
    norm, stock = ElasticLayerNorm(8), nn.LayerNorm(5)
    for tensor in norm.parameters():
        nn.init.normal_(tensor)
    stock.load_state_dict({name: tensor[:5] for name, tensor in norm.state_dict().items()})
    x = 3 + torch.randn(2, 4, 5)
    torch.testing.assert_close(norm(x), stock(x))


@pytest.mark.parametrize("features", [12, 7])
@pytest.mark.parametrize("heads", [3, 2])
def test_attention_is_what_its_formula_says(features: int, heads: int) -> None:
    attention = ElasticSelfAttention(12, 3, 4)
    for tensor in attention.parameters():
        nn.init.normal_(tensor, std=0.5)
    x, keep = torch.randn(2, 5, features), torch.tensor([True, True, False, True, True])
    out = torch.zeros(2, 5, features) + attention.out_proj.bias[:features]
    for head in range(heads):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (x @ layer.weight[part, :features].t() + layer.bias[part]
                   for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
        scores = (q @ k.transpose(1, 2) / 2).masked_fill(~keep, -torch.inf)
        out += scores.softmax(-1) @ v @ attention.out_proj.weight[:features, part].t()
    found = attention(x, heads, keep.expand(2, 1, 1, 5))
    torch.testing.assert_close(found, out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("module", "inputs", "argument", "message"), [
    (ElasticLayerNorm(4), torch.zeros(2, 3, 5), (), "stores 4 features, asked for 5"),
    (ElasticSelfAttention(4, 2, 3), torch.zeros(2, 3, 4), (3,), "stores 4→6 features"),
    (ElasticConv2d(4, 6), torch.zeros(1, 4, 2, 2), (7,), "stores 4→6 channels, asked for 4→7"),
    (ElasticConv2d(4, 6), torch.zeros(1, 5, 2, 2), (6,), "asked for 5→6"),
    (ElasticLinear(4, 6), torch.zeros(1, 4), (7,), "stores 4→6 features, asked for 4→7"),
    (ElasticLinear(4, 6), torch.zeros(1, 5), (6,), "asked for 5→6"),
    (ElasticBatchNorm2d(4), torch.zeros(2, 5, 2, 2), (), "stores 4 channels, asked for 5"),
    (ElasticDepthwiseConv2d(4, (3, 5)), torch.zeros(1, 5, 6, 6), (5,), "stores 4 channels"),
    (ElasticDepthwiseConv2d(4, (3, 5)), torch.zeros(1, 4, 6, 6), (7,), r"kernels \(3, 5\), not 7"),
    (ElasticDepthwiseConv2d(4, (3, 7)), torch.zeros(1, 4, 6, 6), (5,), r"kernels \(3, 7\), not 5"),
])
def test_asking_for_more_than_is_stored_is_an_error(
        module: nn.Module, inputs: Tensor, argument: tuple[int, ...], message: str) -> None:
    with pytest.raises(ArchError, match=message):
        module(inputs, *argument)
