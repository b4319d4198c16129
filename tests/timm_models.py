"""Supernets of small timm models, with weights of which every one tells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from supernets.timm.cifar_resnet import register
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.layout import tensors_of
from supernets.timm.supernet import TimmSupernet


@dataclass(frozen=True)
class Images:
    """A task that only has inputs."""

    shape: tuple[int, int, int]

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((batch, *self.shape), dtype=np.float32))


SMALL_REGNET: dict[str, Any] = {"depth": 7, "w0": 32, "wa": 24, "wm": 1.8, "group_size": 16}

# Model → what it is made with; each family, and each kind of block that differs.
MODELS: dict[str, dict[str, Any]] = {
    "test_efficientnet": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_035": {},
    "tf_efficientnet_lite0": {},
    "test_efficientnet_ln": {},
    "efficientnet_es": {},
    "lcnet_035": {},
    "test_resnet": {},
    "resnet18": {},
    "resnext50_32x4d": {},
    "resnetblur18": {},
    "seresnext26t_32x4d": {},
    "ecaresnet26t": {},
    "test_vit": {"img_size": 64},
    "test_vit2": {"img_size": 64},
    "test_vit4": {"img_size": 64},
    "deit_tiny_distilled_patch16_224": {"img_size": 64},
    "vit_tiny_patch16_224": {"img_size": 64},
    "test_convnext": {},
    "test_convnext2": {},
    "convnextv2_atto": {},
    "regnetx_002": {},
    "regnety_002": {},
    "regnetz_005": SMALL_REGNET,
    "regnetv_040": {**SMALL_REGNET, "downsample": "avg"},
    "regnety_040_sgn": SMALL_REGNET,
    "cifar_resnet20": {"width": 0.5},
    "cifar_resnet164": {"depth": 2},
}
SIDE = 64

register()


def make_model(name: str, *, seed: int = 0) -> nn.Module:
    """Returns a model in evaluation mode; norms and scales that start at 0 or 1 are drawn."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = timm.create_model(name, num_classes=10, **MODELS.get(name, {}))
        for path, tensor in tensors_of(model):
            if path.endswith("running_var"):
                tensor.uniform_(0.8, 1.6)
            elif path.endswith("running_mean"):
                tensor.normal_(std=0.3)
            elif tensor.ndim == 1 and path.endswith(("weight", "gamma")):
                tensor.uniform_(0.3, 1.0)
            elif tensor.ndim == 1 and path.endswith("bias"):
                tensor.normal_(std=0.1)
    return model.eval()


def make_supernet(model: nn.Module, name: str, *, ratios: Ratios | None = None) -> TimmSupernet:
    """Returns a supernet in evaluation mode on images of side `SIDE`."""
    elastic = Elastic(f"timm:{name}/1", describe_model(model), ratios or Ratios())
    return TimmSupernet(model, elastic, Images((3, SIDE, SIDE))).eval()


def images(batch: int = 2, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, SIDE, SIDE, generator=generator)
