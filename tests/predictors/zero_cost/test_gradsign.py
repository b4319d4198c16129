from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nas.core.errors import InputError
from predictors.zero_cost import gradsign
from predictors.zero_cost.gradsign import GradSign

SAMPLES = 5
CLASSES = 7


def naive(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The definition: one backward pass for each sample as a batch of its own."""
    for module in model.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    layers = [m for m in model.modules()
              if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)]
    counted = {id(parameter) for layer in layers for name, parameter in layer.named_parameters()
               if "bias" not in name}
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()
            if id(parameter) in counted}
    for i in range(len(x)):
        model.zero_grad()
        loss(model(x[i:i + 1]), y[i:i + 1]).backward()
        for name, parameter in model.named_parameters():
            if name in sums and parameter.grad is not None:
                sums[name] += parameter.grad.sign()
    model.zero_grad()
    return {name: total.abs() for name, total in sums.items()}


def images(*shape: int) -> Tensor:
    return torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64)


def labels() -> Tensor:
    return torch.arange(SAMPLES) % CLASSES


def scores(model: nn.Module, x: Tensor, loss: Callable[..., Tensor] = F.cross_entropy
           ) -> dict[str, Tensor]:
    return GradSign().scores(model, (x, labels()), loss=loss, rng=np.random.default_rng(0))


def assert_exact(model: nn.Module, x: Tensor, loss: Callable[..., Tensor] = F.cross_entropy
                 ) -> dict[str, Tensor]:
    model = model.double()
    found = scores(model, x, loss)
    expected = naive(model, x, labels(), loss)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name].double(), value), name
    assert any(value.any() for value in expected.values())
    return found


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Gets an entry when a network is run sample by sample."""
    calls: list[None] = []
    slow = gradsign._one_by_one

    def counting(*args: Any) -> Any:
        calls.append(None)
        return slow(*args)

    monkeypatch.setattr(gradsign, "_one_by_one", counting)
    return calls


class Head(nn.Sequential):
    """Layers, then the mean over positions, then a classifier."""

    def __init__(self, *layers: nn.Module, channels: int) -> None:
        super().__init__(*layers)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = layer(x)
        return self.classifier(x.flatten(2).mean(2))


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, ...]]] = {
    "plain": (lambda: nn.Conv2d(3, 6, 3, padding=1), 6, (3, 6, 6)),
    "large image": (lambda: nn.Conv2d(3, 6, 3), 6, (3, 14, 13)),
    "pointwise": (lambda: nn.Conv2d(3, 6, 1), 6, (3, 6, 6)),
    "pointwise, strided": (lambda: nn.Conv2d(3, 6, 1, stride=(2, 3)), 6, (3, 7, 8)),
    "pointwise, padded": (lambda: nn.Conv2d(3, 6, 1, padding=1), 6, (3, 4, 4)),
    "strided, a rest": (lambda: nn.Conv2d(3, 6, 3, stride=2), 6, (3, 8, 6)),
    "strided, large": (lambda: nn.Conv2d(3, 6, (3, 4), stride=2, padding=1), 6, (3, 24, 25)),
    "dilated": (lambda: nn.Conv2d(3, 6, 3, dilation=(2, 1), padding=(2, 0)), 6, (3, 7, 7)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), 6, (4, 6, 6)),
    "grouped pointwise": (lambda: nn.Conv2d(4, 6, 1, groups=2), 6, (4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1), 4, (4, 7, 6)),
    "depthwise 5": (lambda: nn.Conv2d(4, 4, 5, groups=4, stride=2, padding=2), 4, (4, 7, 6)),
    "depthwise 5, dilated": (
        lambda: nn.Conv2d(4, 4, 5, groups=4, dilation=2, padding=4), 4, (4, 7, 6)),
    "depthwise, larger than the image": (
        lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), 4, (4, 2, 2)),
    "depthwise, twice as many": (lambda: nn.Conv2d(4, 8, 5, groups=4), 8, (4, 7, 6)),
    "circular": (lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"), 6, (3, 6, 6)),
    "reflect": (lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), 6, (3, 6, 6)),
    "same, even kernel": (lambda: nn.Conv2d(3, 6, (4, 3), padding="same"), 6, (3, 6, 6)),
    "valid": (lambda: nn.Conv2d(3, 6, 3, padding="valid"), 6, (3, 6, 6)),
    "1d": (lambda: nn.Conv1d(3, 6, 5, stride=2, padding=2), 6, (3, 30)),
    "1d, long": (lambda: nn.Conv1d(3, 6, 4, stride=2, padding=3), 6, (3, 150)),
    "1d, depthwise 9": (lambda: nn.Conv1d(4, 4, 9, groups=4, padding=4), 4, (4, 90)),
    "1d, same, even kernel": (lambda: nn.Conv1d(4, 6, 8, groups=2, padding="same"), 6, (4, 90)),
    "3d": (lambda: nn.Conv3d(3, 6, 2, stride=(1, 2, 1)), 6, (3, 4, 5, 4)),
    "3d, large": (lambda: nn.Conv3d(2, 4, 3, padding=1), 4, (2, 5, 5, 5)),
    "one position": (lambda: nn.Conv2d(3, 6, 4), 6, (3, 4, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_convolution_is_exact(kind: str, channels_last: bool, one_by_one: list[None]
                                    ) -> None:
    torch.manual_seed(0)
    build, channels, shape = CONVOLUTIONS[kind]
    x = images(*shape)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    found = assert_exact(Head(build(), nn.Tanh(), channels=channels), x)
    assert len(found) == 2
    assert not one_by_one


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_convolution_is_exact(data: st.DataObject) -> None:
    torch.manual_seed(0)
    number = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    groups = data.draw(st.sampled_from((1, 1, 2, 4)))
    kernel, dilation = (number(1, 5), number(1, 5)), (number(1, 2), number(1, 2))
    conv = nn.Conv2d(4, 4 * number(1, 2), kernel, stride=(number(1, 3), number(1, 3)),
                     padding=(number(0, 3), number(0, 3)), dilation=dilation, groups=groups)
    sides = (number(9, 20), number(9, 20))
    assert_exact(Head(conv, nn.Tanh(), channels=conv.out_channels), images(4, *sides))


def test_blocks_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictors.zero_cost.per_sample._BLOCK", 100)
    monkeypatch.setattr("predictors.zero_cost.per_sample._SAMPLES", 2)
    monkeypatch.setattr("predictors.zero_cost.per_sample._LEAST_ROWS", 4)
    torch.manual_seed(0)
    assert_exact(Head(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 10, 1),
                      nn.Conv2d(10, 10, 3, groups=5), channels=10), images(3, 9, 9))


def test_batch_norm_uses_the_statistics_of_each_sample(one_by_one: list[None]) -> None:
    torch.manual_seed(0)
    model = Head(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
                 nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU(), channels=8)
    nn.init.normal_(model[1].weight)
    nn.init.normal_(model[1].bias)
    x = images(3, 9, 9)
    found = assert_exact(model, x)
    assert not one_by_one
    without = Head(model[0], nn.Identity(), *list(model)[2:-1], channels=8).double()
    assert any(not torch.equal(found[name], value) for name, value in scores(without, x).items()
               if name in found and found[name].shape == value.shape)


@pytest.mark.parametrize("build", [
    lambda: nn.Conv2d(8, 8, 3, padding=1), lambda: nn.Conv2d(8, 8, 1, stride=2),
    lambda: nn.Conv2d(8, 8, 3, groups=8), lambda: nn.Conv2d(8, 8, 5, groups=8),
    lambda: nn.Conv2d(8, 8, 3, groups=2, stride=2)])
@pytest.mark.parametrize("side", [8, 13])
def test_channels_last_is_exact(build: Callable[[], nn.Module], side: int) -> None:
    torch.manual_seed(0)
    model = Head(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), build(),
                 nn.BatchNorm2d(8, affine=False), nn.Hardswish(inplace=True), channels=8)
    nn.init.normal_(model[1].weight)
    x = images(3, side, side).contiguous(memory_format=torch.channels_last)
    assert_exact(model.to(memory_format=torch.channels_last), x)


def test_frozen_batch_norm_keeps_its_running_statistics() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.rand(6))
            self.register_buffer("var", torch.rand(6) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.mean, self.var)

    torch.manual_seed(0)
    assert_exact(Head(nn.Conv2d(3, 6, 3), Frozen(), nn.ReLU(), channels=6), images(3, 6, 6))


def test_batch_norm_of_one_value_a_sample_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, CLASSES)).double()
    with pytest.raises(InputError, match="one value per channel and sample"):
        scores(model, images(3))


def test_sequences_through_linear_layers(one_by_one: list[None]) -> None:
    torch.manual_seed(0)

    class Sequence(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean((1, 2))

    model = Sequence(nn.Linear(4, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, CLASSES))
    assert_exact(model, images(3, 6, 4))
    assert not one_by_one
    # A length equal to the batch does not prove which dimension the samples are.
    assert_exact(model, images(SAMPLES, 6, 4))
    assert not one_by_one


def test_time_before_samples_is_found_out(one_by_one: list[None]) -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 6)
            self.classifier = nn.Linear(6, CLASSES)

        def forward(self, x_BTF: Tensor) -> Tensor:
            return self.classifier(self.body(x_BTF.transpose(0, 1)).tanh().mean(0))

    torch.manual_seed(0)
    for steps in (SAMPLES, SAMPLES + 1):
        assert_exact(TimeFirst(), images(steps, 4))
    assert len(one_by_one) == 2


@pytest.mark.parametrize("kernel", [1, 3])
def test_layer_that_is_called_several_times(kernel: int, one_by_one: list[None]) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.shared = nn.Conv2d(4, 4, kernel, padding=kernel // 2)
            self.classifier = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for _ in range(3):
                x = torch.tanh(self.shared(x))
            self.shared(x)  # reaches no loss
            return self.classifier(x.mean((2, 3)))

    torch.manual_seed(0)
    assert_exact(Recurrent(), images(3, 9, 9))
    assert not one_by_one


def test_tied_weights_add_up_under_the_first_name(one_by_one: list[None]) -> None:
    torch.manual_seed(0)
    model = Head(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(),
                 nn.Conv2d(4, 4, 3, dilation=2), channels=4)
    model[4].weight = model[2].weight
    assert list(assert_exact(model, images(3, 9, 9))) == ["0.weight", "2.weight",
                                                          "classifier.weight"]
    assert not one_by_one


def test_weight_tied_to_an_embedding(one_by_one: list[None]) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(CLASSES, 6)
            self.out = nn.Linear(6, CLASSES, bias=False)
            self.out.weight = self.embedding.weight

        def forward(self, tokens_BT: Tensor) -> Tensor:
            return self.out(self.embedding(tokens_BT).mean(1).tanh())

    torch.manual_seed(0)
    assert_exact(Tied(), torch.arange(SAMPLES * 3).reshape(SAMPLES, 3) % CLASSES)
    assert len(one_by_one) == 1


def test_weight_without_a_call_of_its_layer(one_by_one: list[None]) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.classifier = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            return self.classifier(self.attention(x, x, x, need_weights=False)[0].mean(1))

    torch.manual_seed(0)
    found = assert_exact(Attention(), images(6, 4))
    assert "attention.out_proj.weight" in found
    assert found["attention.out_proj.weight"].any()
    assert one_by_one


def test_weight_that_is_computed(one_by_one: list[None]) -> None:
    torch.manual_seed(0)
    model = Head(weight_norm(nn.Conv1d(3, 6, 3)), nn.ReLU(), channels=6)
    names = list(assert_exact(model, images(3, 12)))
    assert names == ["0.parametrizations.weight.original0", "0.parametrizations.weight.original1",
                     "classifier.weight"]
    assert one_by_one


def test_windows_folded_into_the_batch(one_by_one: list[None]) -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 6)
            self.classifier = nn.Linear(6, CLASSES)

        def forward(self, x_BTF: Tensor) -> Tensor:
            windows = self.body(x_BTF.reshape(-1, 2, 4)).tanh()
            return self.classifier(windows.reshape(len(x_BTF), -1, 6).mean(1))

    torch.manual_seed(0)
    assert_exact(Windows(), images(6, 4))
    assert one_by_one


def test_unused_weights_count_nothing() -> None:
    class Unused(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            self[2](x)
            return self[0](x.flatten(1))

    model = Unused(nn.Linear(12, CLASSES), nn.Linear(2, 2), nn.Conv1d(3, 8, 1)).double()
    found = scores(model, images(3, 4))
    assert found["0.weight"].any()
    assert not found["1.weight"].any()
    assert not found["2.weight"].any()
    assert found["2.weight"].shape == (8, 3, 1)


def test_dropout_and_stochastic_depth_are_off() -> None:
    torch.manual_seed(0)
    model = Head(nn.Conv2d(3, 6, 3), nn.Dropout(0.9), nn.ReLU(), channels=6)
    assert_exact(model, images(3, 6, 6))


def test_layer_behind_no_grad_counts_nothing() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 4)
            self.classifier = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.body(x)
            return self.classifier(x)

    assert not assert_exact(Detached(), images(4))["body.weight"].any()


def test_any_mean_of_losses_will_do() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets[:, None].to(outputs)).abs().pow(1.5).mean()

    torch.manual_seed(0)
    assert_exact(Head(nn.Conv2d(3, 6, 3), nn.ReLU(), channels=6), images(3, 6, 6), loss)


def test_input_changed_in_place_after_its_layer_is_an_error() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.left = nn.Conv2d(4, 4, 1)
            self.classifier = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).tanh()
            left = self.left(x)
            return self.classifier((left + x.mul_(2)).mean((2, 3)))

    with pytest.raises(InputError, match=r"input of left\.weight is changed in place"):
        scores(InPlace().double(), images(3, 5, 5))


def test_output_without_a_graph_is_an_error() -> None:
    class Detached(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(InputError, match="depends on no Conv or Linear weight"):
        scores(Detached(4, CLASSES).double(), images(4))


def test_inputs_in_a_dict_are_cut_by_sample(one_by_one: list[None]) -> None:
    class FromDict(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return self.inner(inputs["x"])

    torch.manual_seed(0)
    inner = Head(weight_norm(nn.Conv1d(3, 6, 3)), nn.ReLU(), channels=6).double()
    x = images(3, 12)
    wrapped = GradSign().scores(FromDict(inner), ({"x": x}, labels()), loss=F.cross_entropy,
                                rng=np.random.default_rng(0))
    assert [value.sum() for value in wrapped.values()] == [
        value.sum() for value in scores(inner, x).values()]
    assert len(one_by_one) == 2


def tiny_timm(name: str, **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=CLASSES, **kwargs)


def test_timm_vit_is_exact(one_by_one: list[None]) -> None:
    model = tiny_timm("vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=2,
                      num_heads=2, drop_path_rate=0.5)
    assert_exact(model, images(3, 16, 16))
    assert not one_by_one


def test_timm_mobilenet_is_exact_and_close_in_float32(one_by_one: list[None]) -> None:
    model = tiny_timm("mobilenetv3_small_050", drop_rate=0.5)
    x = images(3, 64, 64)
    exact = sum(float(value.sum()) for value in assert_exact(model, x).values())
    score = GradSign()(model.float(), (x.float(), labels()), loss=F.cross_entropy,
                       rng=np.random.default_rng(0))
    assert score == pytest.approx(exact, rel=2e-4)  # gradients near zero change their sign
    assert not one_by_one
