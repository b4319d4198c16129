"""What every proxy of the registry keeps, on a CNN, a transformer and a speech-like network."""

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import ZeroCostProxy
from predictors.registry import PROXIES

CLASSES = 4
SAMPLES = 8

Batch = tuple[Tensor, Tensor]


class Speech(nn.Module):
    """A strided Conv1d stem, LayerNorm, self-attention; (B, 1, T) → (B, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 8, 10, stride=5)
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, x_B1T: Tensor) -> Tensor:
        x_BTC = self.norm(F.gelu(self.stem(x_B1T)).transpose(1, 2))
        attended = F.scaled_dot_product_attention(self.query(x_BTC), self.key(x_BTC),
                                                  self.value(x_BTC))
        return self.classifier((x_BTC + self.dropout(self.out(attended))).mean(1))


def cnn() -> nn.Module:
    """Inverted bottlenecks with squeeze-and-excite, hard swish, ReLU, dropout, drop path."""
    blocks = decode_arch_def([["ir_r1_k3_s2_e2_c8"], ["ir_r2_k5_s2_e2_c16_se0.25_nhs"]])
    return MobileNetV3(blocks, num_classes=CLASSES, stem_size=8, num_features=32, drop_rate=0.2,
                       drop_path_rate=0.2, act_layer=nn.ReLU)


def vit() -> nn.Module:
    return VisionTransformer(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2,
                             num_classes=CLASSES, drop_rate=0.2, drop_path_rate=0.2)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (cnn, (3, 32, 32)), "vit": (vit, (3, 16, 16)), "speech": (Speech, (1, 100))}
READ_NO_WEIGHTS = {"jacob_cov", "naswot", "te_nas", "epe_nas", "params"}
PROXY_NAMES = [entry.name for entry in PROXIES.builtin]


def make(network: str) -> tuple[nn.Module, Batch]:
    build, shape = NETWORKS[network]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        batch = (torch.randn(SAMPLES, *shape), torch.arange(SAMPLES) % CLASSES)
    model.train()
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    return model, batch


def load(name: str) -> ZeroCostProxy:
    proxy: ZeroCostProxy = PROXIES.get(name).resolve()()
    return proxy


def needs(name: str, what: str) -> bool:
    return what in PROXIES.get(name).info["needs"]


def score(name: str, model: nn.Module, batch: Batch,
          loss: Callable[..., Tensor] = F.cross_entropy, seed: int = 0) -> float:
    return load(name)(model, batch, loss=loss, rng=np.random.default_rng(seed))


def state(model: nn.Module) -> Any:
    """All that must come back: bits, objects, modes, gradients, hooks, other attributes."""
    def bits(tensor: Tensor) -> bytes:
        return tensor.detach().contiguous().numpy().tobytes()

    tensors = [*model.named_parameters(), *model.named_buffers()]
    return ([(name, id(tensor), tensor.data_ptr(), tensor.dtype, tensor.requires_grad,
              bits(tensor), None if tensor.grad is None else (id(tensor.grad), bits(tensor.grad)),
              tensor._backward_hooks) for name, tensor in tensors],
            [(name, id(module), {key: copy.copy(value) if isinstance(value, dict) else value
                                 for key, value in vars(module).items()
                                 if key not in {"_parameters", "_buffers", "_modules"}})
             for name, module in model.named_modules()])


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PROXY_NAMES)
class TestOnEveryNetwork:
    def test_score_is_repeatable_and_leaves_no_trace(self, name: str, network: str) -> None:
        model, batch = make(network)
        inputs, before = batch[0].clone(), state(model)
        randomness = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
        first = score(name, model, batch)
        assert isinstance(first, float)
        assert math.isfinite(first)
        assert state(model) == before
        assert torch.equal(batch[0], inputs)
        assert torch.equal(torch.get_rng_state(), randomness[0])
        assert np.random.get_state()[1].tobytes() == randomness[1]  # noqa: NPY002
        model.eval()  # the mode that the caller left it in does not matter, nor frozen weights
        model.requires_grad_(False)
        with torch.no_grad():
            assert score(name, model, batch) == first

    def test_model_comes_back_after_an_error_in_the_loss(self, name: str, network: str) -> None:
        model, batch = make(network)
        before = state(model)

        def loss(*_: Tensor) -> Tensor:
            raise Interrupted

        with contextlib.suppress(Interrupted):  # some read no loss
            score(name, model, batch, loss)
        assert state(model) == before

    def test_model_comes_back_after_an_error_in_the_network(self, name: str, network: str) -> None:
        model, batch = make(network)
        if name == "params":
            pytest.skip("does not run the network")

        def fail(*_: Any) -> None:
            raise Interrupted

        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.register_forward_hook(fail)
        before = state(model)
        with pytest.raises(Interrupted):
            score(name, model, batch)
        assert state(model) == before


@pytest.mark.parametrize("name", PROXY_NAMES)
class TestEveryProxy:
    def test_any_loss_will_do(self, name: str) -> None:
        model, (inputs, targets) = make("cnn")
        values = (inputs, targets.float()) if name != "epe_nas" else (inputs, targets)
        found = score(name, model, values, lambda outputs, targets: F.mse_loss(
            outputs, targets[:, None].float().expand_as(outputs)))
        assert math.isfinite(found)

    def test_model_without_layers_is_an_error(self, name: str) -> None:
        if name in READ_NO_WEIGHTS:
            pytest.skip("does not read the weights of layers")
        model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        batch = (torch.randn(SAMPLES, 3, 8, 8), torch.zeros(SAMPLES, dtype=torch.int64))
        with pytest.raises(InputError, match="no Conv or Linear layer"):
            score(name, model, batch)

    def test_too_few_samples_are_an_error(self, name: str) -> None:
        if not needs(name, "2 samples"):
            pytest.skip("has no such need")
        model, (inputs, targets) = make("cnn")
        with pytest.raises(InputError, match="sample"):
            score(name, model, (inputs[:1], targets[:1]))

    def test_label_out_of_range_is_an_error(self, name: str) -> None:
        model, (inputs, targets) = make("cnn")
        called = []

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            called.append(None)
            return F.cross_entropy(outputs, targets)

        score(name, model, (inputs, targets), loss)
        if not called:
            pytest.skip("reads no labels through the loss")
        with pytest.raises(InputError, match=f"label 9 is outside 0 … {CLASSES - 1}"):
            score(name, model, (inputs, targets.where(targets > 0, 9)))

    def test_score_that_is_not_finite_is_an_error_that_names_a_layer(self, name: str) -> None:
        model, (inputs, targets) = make("cnn")
        if name in {"params", "macs"}:
            pytest.skip("reads no numbers")
        if name == "zen":
            pytest.skip("draws weights and inputs of its own")
        with torch.no_grad():
            model.blocks[1][0].conv_pw.weight.fill_(torch.nan)
        layers = [layer for layer, module in model.named_modules() if not any(module.children())]
        with pytest.raises(EvaluationError) as caught:
            score(name, model, (inputs, targets))
        assert any(layer in str(caught.value) for layer in layers)
