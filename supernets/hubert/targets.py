"""What a teacher says of clips, kept on disk so that it runs once.

Legend: S samples, T frames of the teacher, D its width.
"""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from nas.core.errors import DataError, EvaluationError
from nas.core.files import replace_file
from supernets.hubert.teacher import Teacher
from supernets.tasks.waves import Wave, check_clip

Target = NDArray[np.float16]  # (T, D)

_EPSILON = 1e-5  # of a variance


class Targets(Protocol):
    """The targets of clips, in their order."""

    def __len__(self) -> int: ...
    def __getitem__(self, clip: int, /) -> Target: ...

    def identity(self) -> str:
        """Returns what stands for the clips, the teacher and its settings."""


def averaged(layers: Sequence[Tensor], *, instance_norm: bool) -> Tensor:
    """Returns the mean of layers' features (B, T, D) without padding.

    Args:
        layers: At least one.
        instance_norm: Whether each feature of each layer first gets mean 0 and variance 1 over the
            clip's time, as data2vec has it (arXiv 2202.03555, section 3.3); without it, layers and
            features of large values weigh most.
    """
    if instance_norm:
        layers = [_over_time(layer) for layer in layers]
    return torch.stack([layer.float() for layer in layers]).mean(0)


class TargetCache:
    """A folder with one file for each clip that a teacher has heard.

    A clip is found by its samples, in a folder for the teacher and its settings, so that trainings
    on other clips, or with other settings, share it. The teacher hears one clip at a time: what it
    says does not depend on other clips.

    Args:
        folder: Made if it is not there.
        teacher: Asked about clips that are not in it.
        instance_norm: See `averaged`.
    """

    def __init__(self, folder: Path, teacher: Teacher, *, instance_norm: bool = False) -> None:
        self._teacher, self._instance_norm = teacher, instance_norm
        self.settings = f"{teacher.identity()} instance_norm={instance_norm}"
        self._folder = folder / _digest(self.settings.encode())

    def compute(self, wave_S: Wave) -> Target:
        """Returns a clip's target without the disk.

        Raises:
            InputError: A clip that the teacher cannot take.
            EvaluationError: Features that half precision cannot hold.
        """
        layers = self._teacher(torch.from_numpy(wave_S)[None])
        target = averaged(layers, instance_norm=self._instance_norm)[0].half().cpu()
        if not bool(torch.isfinite(target).all()):
            raise EvaluationError("the teacher's features are not finite in half precision; use "
                                  "instance norm, or another teacher")
        found: Target = target.numpy()
        return found

    def prepare(self, waves: Sequence[Wave],
                on_clip: Callable[[int, int], None] | None = None) -> "CachedTargets":
        """Lets the teacher hear the clips that it has not yet, and returns all targets.

        What was made is kept if it is stopped.

        Args:
            waves: The clips.
            on_clip: Called after each clip with how many are done, and of how many.

        Raises:
            DataError: What is no clip.
            InputError: A clip that the teacher cannot take.
            EvaluationError: Features that half precision cannot hold.
            OSError: A file cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        files = []
        for index, wave_S in enumerate(waves):
            check_clip(wave_S, index)
            file = self._folder / f"{_digest(np.ascontiguousarray(wave_S).tobytes())}.safetensors"
            if not file.exists():
                _write(file, self.compute(wave_S))
            files.append(file)
            if on_clip is not None:
                on_clip(index + 1, len(waves))
        return CachedTargets(tuple(files), self.settings)


@dataclass(frozen=True, slots=True)
class CachedTargets:
    """The `Targets` of clips in a cache; each is read when it is asked for."""

    files: tuple[Path, ...]
    settings: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, clip: int, /) -> Target:
        """Returns the target of a clip.

        Raises:
            DataError: Its file is gone or damaged.
        """
        return _read(self.files[clip])

    def identity(self) -> str:
        """Returns the settings and a digest of all clips, in their order."""
        clips = _digest(" ".join(file.stem for file in self.files).encode())
        return f"{self.settings} clips={clips}"


def _over_time(x_BTD: Tensor) -> Tensor:
    x_BTD = x_BTD.float()
    variance, mean = torch.var_mean(x_BTD, 1, correction=0, keepdim=True)
    return (x_BTD - mean) * (variance + _EPSILON).rsqrt()


def _write(file: Path, target: Target) -> None:
    replace_file(file, save({"target": np.ascontiguousarray(target)},
                            {"crc32": f"{zlib.crc32(target.tobytes()):08x}"}))


def _read(file: Path) -> Target:
    try:
        with safe_open(file, "np") as opened:
            target: Target = opened.get_tensor("target")
            crc = (opened.metadata() or {}).get("crc32")
    except FileNotFoundError:
        raise DataError(f"cached target {file} is gone; start again to make it anew") from None
    except (OSError, SafetensorError) as error:
        raise _damaged(file, " ".join(str(error).split())) from None
    if crc != f"{zlib.crc32(target.tobytes()):08x}":
        raise _damaged(file, "its checksum differs")
    return target


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(f"cached target {file} is damaged ({reason}); remove it and start again to "
                     "make it anew")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
