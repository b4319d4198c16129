"""Small networks, batches and checks that the tests of zero-cost proxies share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from nas.core.protocols import Batch, ZeroCostProxy

CLASSES = 5
LOSS = nn.CrossEntropyLoss()


def seeded(make: Any, seed: int = 0) -> Any:
    """Returns what `make` makes with torch's generator seeded, which is put back."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def conv_net(seed: int = 0) -> nn.Sequential:
    """BatchNorm, ReLU, a strided and a grouped convolution, on (B, 3, 8, 8)."""
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)), seed)


def conv1d_net(seed: int = 0) -> nn.Sequential:
    """On (B, 2, 12)."""
    return seeded(lambda: nn.Sequential(
        nn.Conv1d(2, 6, 5), nn.BatchNorm1d(6), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(6, CLASSES)), seed)


def vit(seed: int = 0) -> VisionTransformer:
    """GELU, LayerNorm and attention, on (B, 3, 8, 8)."""
    return seeded(lambda: VisionTransformer(
        img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=CLASSES), seed)


def batch(samples: int = 8, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> Batch:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn((samples, *shape), generator=generator),
            torch.randint(CLASSES, (samples,), generator=generator))


NETS = {"conv": (conv_net, batch()), "conv1d": (conv1d_net, batch(shape=(2, 12))),
        "vit": (vit, batch())}


def score(proxy: ZeroCostProxy, model: nn.Module, data: Batch, seed: int = 0) -> float:
    """Returns the proxy's score with cross-entropy, and checks that the model stays as it was."""
    with unchanged(model, data):
        return proxy(model, data, loss=LOSS, rng=np.random.default_rng(seed))


@contextmanager
def unchanged(model: nn.Module, data: Batch) -> Iterator[None]:
    """Checks at the end, also after an error, that model, batch and torch's generator are."""
    before = _state(model, data)
    try:
        yield
    finally:
        after = _state(model, data)
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert value == after[key], key


def _state(model: nn.Module, data: Batch) -> dict[str, Any]:
    state: dict[str, Any] = {f"state {key}": _bits(value)
                             for key, value in model.state_dict().items()}
    for name, module in model.named_modules():
        state[f"mode {name}"] = module.training
        state[f"hooks {name}"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
    for name, parameter in model.named_parameters():
        state[f"parameter {name}"] = (parameter.requires_grad, id(parameter), id(parameter.grad))
    state["generator"] = _bits(torch.get_rng_state())
    return state | {f"batch {i}": _bits(tensor) for i, tensor in enumerate(data)}


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().numpy().tobytes()
