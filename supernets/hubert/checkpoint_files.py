"""What lies in checkpoint files of HuBERTs, before it is anything's weights.

LightHuBERT's files are ``{"cfg": {"model": settings}, "model": weights}`` of torch; fairseq's
HuBERT has the same names of weights. transformers has a folder with ``config.json``, and
``model.safetensors`` or ``pytorch_model.bin``. Nothing is unpickled: only tensors and plain values
are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas.core.errors import DataError
from supernets.hubert.checkpoint_settings import detected_space
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.folder import CONFIG, WEIGHTS, read_config
from supernets.hubert.keys import is_pretraining, newer_name

_BIN = "pytorch_model.bin"


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """What a file or folder holds.

    Attributes:
        path: Of it.
        in_transformers: Whether it is a folder with transformers' names; else fairseq's are meant.
        settings: ``cfg["model"]``, or the folder's configuration; empty where there is none.
        tensors: By the file's names, without those of pretraining alone.
        space: What it says of itself: see `checkpoint_settings.detected_space`.
    """

    path: Path
    in_transformers: bool
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    space: ElasticHubertConfig | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns what a LightHuBERT or fairseq file, or a folder of transformers, holds.

    Raises:
        DataError: It is missing or damaged, needs code to be read, or is a HuBERT with group norm.
    """
    if path.is_dir():
        settings = read_config(path / CONFIG)
        found = Checkpoint(path, True, settings, {
            newer_name(name): tensor for name, tensor in _folder_tensors(path).items()}, None)
    else:
        content = _torch_file(path)
        cfg = content.get("cfg")
        inner = cfg.get("model") if isinstance(cfg, dict) else None
        settings = inner if isinstance(inner, dict) else {}
        found = Checkpoint(path, False, settings, {
            name: tensor for name, tensor in _tensors(path, content.get("model", content)).items()
            if not is_pretraining(name)}, detected_space(settings))
    _refuse_group_norm(found)
    return found


def _refuse_group_norm(found: Checkpoint) -> None:
    name = ("feature_extractor.conv_layers.{}.layer_norm.weight" if found.in_transformers
            else "feature_extractor.conv_layers.{}.2.1.weight").format
    grouped = ("feature_extractor.conv_layers.0.2.weight" in found.tensors or
               (name(0) in found.tensors and name(1) not in found.tensors) or
               found.settings.get("feat_extract_norm") == "group" or
               found.settings.get("extractor_mode") == "default")
    if grouped:
        raise DataError(f"{found.path} is a HuBERT with group norm in its first convolution, as "
                        "HuBERT Base was published; this family has a layer norm in each, for "
                        "which it has no weights: give one with layer norm, or use this one as "
                        "a teacher, as a folder of transformers")


def _folder_tensors(path: Path) -> dict[str, Tensor]:
    if (path / WEIGHTS).is_file():
        try:
            return _tensors(path / WEIGHTS, load_file(path / WEIGHTS))
        except (SafetensorError, OSError) as error:
            raise _unreadable(path / WEIGHTS, error) from None
    if (path / _BIN).is_file():
        return _tensors(path / _BIN, _torch_file(path / _BIN))
    raise DataError(f"{path} has neither {WEIGHTS} nor {_BIN}; give a folder that save_pretrained "
                    "wrote as one file")


def _torch_file(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give a checkpoint of LightHuBERT or fairseq, or a "
                        "folder of transformers") from None
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise _unreadable(path, error) from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not weights by name; save its "
                        "state dict")
    return content


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return DataError(f"{path} cannot be read ({reason}); fetch it again, or, where it holds more "
                     "than tensors and plain values, save its model's state dict alone")


def _tensors(path: Path, values: Any) -> dict[str, Tensor]:
    other = None if isinstance(values, dict) and values else "weights by name"
    for name, value in values.items() if other is None else ():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            other = f"a tensor by the name {name!r}"
        elif not value.is_floating_point() and not is_pretraining(name):
            other = f"floating-point numbers by the name {name!r}"
    if other is not None:
        raise DataError(f"{path} does not hold {other}; save the model's state dict")
    return dict(values)

