"""Feature nets that a user brings as a file, such as Inception-v3 as others exported it.

Legend: B batch, C channels, H and W sides, F features.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.core.errors import DataError, EvaluationError, InputError

_TORCHSCRIPT, _ONNX = (".pt", ".torchscript"), ".onnx"


class FeatureNet(Protocol):
    """Gives features of images; every figure that is made with it states its name."""

    @property
    def name(self) -> str:
        """Of the net."""

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Returns (B, F) of images in −1 … 1."""


@dataclass(frozen=True, kw_only=True)
class FileFeatureNet:
    """A network of a file.

    Attributes:
        name: The file's.
        side: Images are resized to this one, bicubic with antialiasing as clean-fid does; None: as
            they are.
        channels: Grey images are repeated for so many; None: as they are.
        pixels: What the network takes for black and for white.
        run: The network: (B, C, H, W) → (B, F), or (B, F, 1, 1).
    """

    name: str
    side: int | None
    channels: int | None
    pixels: tuple[float, float]
    run: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def features(self, image_BCHW: Tensor) -> Tensor:
        """Returns (B, F) of images in −1 … 1.

        Raises:
            InputError: Images of other channels than the file's, or a network whose output is no
                features.
            EvaluationError: The network refuses the images.
        """
        x = image_BCHW.float()
        if self.channels is not None and x.shape[1] != self.channels:
            if x.shape[1] != 1:
                raise InputError(f"{self.name} takes {self.channels} channels, and images have "
                                 f"{x.shape[1]}")
            x = x.expand(-1, self.channels, -1, -1)
        if self.side is not None:
            x = F.interpolate(x, size=(self.side, self.side), mode="bicubic", antialias=True)
        black, white = self.pixels
        try:
            found = self.run((x + 1) / 2 * (white - black) + black)
        except Exception as error:  # whatever a runtime makes of another size
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise EvaluationError(f"feature net {self.name} refuses images {tuple(x.shape)}: "
                                  f"{reason}; see side and channels") from None
        if isinstance(found, Tensor) and found.shape[2:] == (1, 1):
            found = found.flatten(1)
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(x):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"feature net {self.name} gives {what} for {len(x)} images, not "
                             "(B, F); export it up to its features")
        return found


def load_feature_net(path: Path, *, side: int | None = None, channels: int | None = None,
                     pixels: tuple[float, float] = (-1.0, 1.0)) -> FileFeatureNet:
    """Returns the feature net of a file: TorchScript (.pt, .torchscript) or ONNX (.onnx).

    A TorchScript file is a program: load those of people you trust alone.

    Args:
        path: Of the file, which takes one tensor of images; its first output is the features.
        side: As of `FileFeatureNet`.
        channels: As of `FileFeatureNet`.
        pixels: As of `FileFeatureNet`.

    Raises:
        InputError: Another kind of file, or a side or channels below 1.
        DataError: The file is missing or damaged.
    """
    if (side is not None and side < 1) or (channels is not None and channels < 1):
        raise InputError(f"a feature net's side {side} and channels {channels} must be 1 or more")
    if path.suffix not in (*_TORCHSCRIPT, _ONNX):
        raise InputError(f"{path} is no feature net by its ending; give TorchScript "
                         f"({', '.join(_TORCHSCRIPT)}) or {_ONNX}")
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the file of a feature net")
    opened = _onnx if path.suffix == _ONNX else _torchscript
    try:
        run = opened(path)
    except Exception as error:  # whatever a damaged file makes its reader raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path} cannot be read as a feature net ({reason}); export it "
                        "again") from None
    return FileFeatureNet(name=path.name, side=side, channels=channels, pixels=pixels, run=run)


def _torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        # torch advises authors against the format; files of published feature nets are of it.
        warnings.simplefilter("ignore", FutureWarning)
        net: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    net.eval()

    def run(x_BCHW: Tensor) -> Tensor:
        found = net(x_BCHW.cpu())
        return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]

    return run


def _onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path.read_bytes(), options,
                                           providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x_BCHW: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(x_BCHW.cpu().numpy())
        return torch.from_numpy(session.run(None, {name: pixels})[0])

    return run
