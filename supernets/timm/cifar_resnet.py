"""Residual networks for small images, whose blocks need not agree on a width.

The networks of He et al. (arXiv 1512.03385, section 4.2) with projections in front of the second
and third stage, as Dong and Yang (TAS, arXiv 1905.09717) prune them. Legend: B batch, C channels,
H and W image sides, K classes.
"""

from collections.abc import Callable
from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    register_model,
)
from torch import Tensor, nn
from torch.nn import functional as F

STAGE_WIDTHS = (16, 32, 64)


class CifarBasicBlock(nn.Module):
    """Two 3×3 convolutions, and a shortcut that is cut or padded with zeros to their width."""

    expansion = 1

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(source, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = projection(source, width, stride)
        self.fit = FitChannels()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, width, H/stride, W/stride)."""
        out = self.act1(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out))
        out = out + self.fit(self.downsample(x_BCHW), out.shape[1])
        activated: Tensor = self.act2(out)
        return activated


class CifarBottleneck(nn.Module):
    """A 3×3 convolution between two 1×1, the last four times as wide; as `CifarBasicBlock`."""

    expansion = 4

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1 = nn.Conv2d(source, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample = projection(source, out, stride)
        self.fit = FitChannels()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns (B, 4·width, H/stride, W/stride)."""
        out = self.act1(self.bn1(self.conv1(x_BCHW)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = out + self.fit(self.downsample(x_BCHW), out.shape[1])
        activated: Tensor = self.act3(out)
        return activated


class CifarResNet(nn.Module):
    """A residual network of three stages.

    Args:
        block: Of all stages.
        depth: Blocks of each stage.
        width: Factor on the widths 16, 32 and 64.
        in_chans: Channels of the images.
        num_classes: K.
    """

    def __init__(self, block: type[CifarBasicBlock | CifarBottleneck] = CifarBasicBlock,
                 depth: int = 3, width: float = 1.0, in_chans: int = 3, num_classes: int = 10,
                 drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = [round(width * stage) for stage in STAGE_WIDTHS]
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.act1 = nn.ReLU(inplace=True)
        source = widths[0]
        for index, stage_width in enumerate(widths):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(source, stage_width, stride))
                source = stage_width * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.num_features = self.head_hidden_size = source
        self.drop_rate = drop_rate
        self.fc = nn.Linear(source, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Returns the last stage's output."""
        x_BCHW = self.act1(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = self.get_submodule("layer1")(x_BCHW)
        x_BCHW = self.get_submodule("layer2")(x_BCHW)
        stage: Tensor = self.get_submodule("layer3")(x_BCHW)
        return stage

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns logits (B, K)."""
        x_BC = self.forward_features(x_BCHW).mean((2, 3))
        if self.drop_rate:
            x_BC = F.dropout(x_BC, self.drop_rate, self.training)
        logits: Tensor = self.fc(x_BC)
        return logits

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Returns which weights are of which layer, as timm's models say it."""
        return {"stem": r"^conv1|bn1",
                "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """Returns the last layer."""
        return self.fc


class FitChannels(nn.Module):
    """Cuts what a shortcut has too much, and pads with zeros what it lacks."""

    def forward(self, x_BCHW: Tensor, channels: int) -> Tensor:
        """Returns the leading channels, or all of them and then zeros: (B, channels, H, W)."""
        missing = channels - x_BCHW.shape[1]
        if missing > 0:
            return F.pad(x_BCHW, (0, 0, 0, 0, 0, missing))
        return x_BCHW[:, :channels] if missing else x_BCHW


def projection(source: int, width: int, stride: int) -> nn.Module:
    """Returns a shortcut: average pooling and a 1×1 convolution where the sides shrink."""
    if stride == 1 and source == width:
        return nn.Identity()
    # Odd sides are rounded up, as the convolutions round them.
    pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            ] if stride > 1 else []
    return nn.Sequential(*pool, nn.Conv2d(source, width, 1, bias=False), nn.BatchNorm2d(width))


_CONFIG = {"url": "", "num_classes": 10, "input_size": (3, 32, 32), "pool_size": (8, 8),
           "crop_pct": 1.0, "interpolation": "bicubic", "mean": (0.4914, 0.4822, 0.4465),
           "std": (0.2470, 0.2435, 0.2616), "first_conv": "conv1", "classifier": "fc",
           "fixed_input_size": False}
_SHAPES = {20: (CifarBasicBlock, 3), 32: (CifarBasicBlock, 5), 56: (CifarBasicBlock, 9),
           110: (CifarBasicBlock, 18), 164: (CifarBottleneck, 18)}
NAMES = tuple(f"cifar_resnet{layers}{half}" for layers in _SHAPES for half in ("", "_half"))

default_cfgs = generate_default_cfgs(dict.fromkeys(NAMES, _CONFIG))  # where timm looks


def _entry(name: str) -> Callable[..., nn.Module]:
    layers, _, half = name.removeprefix("cifar_resnet").partition("_")
    block, depth = _SHAPES[int(layers)]
    shape: dict[str, Any] = {"block": block, "depth": depth, "width": 0.5 if half else 1.0}

    def make(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return build_model_with_cfg(CifarResNet, name, pretrained, **{**shape, **kwargs})

    make.__name__ = make.__qualname__ = name
    make.__module__ = __name__
    return make


def register() -> None:
    """Makes the networks known to timm: `timm.create_model("cifar_resnet20")` and its kin."""
    for name in NAMES:
        if not is_model(name):
            register_model(_entry(name))
