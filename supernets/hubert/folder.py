"""An extracted encoder as a folder: configuration, weights, and how waveforms are prepared.

A stock HubertModel's folder is what `save_pretrained` writes, which transformers' `AutoModel` and
`AutoFeatureExtractor` load. A `PlainHubert`'s has the same three files; its model type is of this
project, so that transformers refuses it by name, and `open_folder` loads it.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from nas.core.errors import DataError, InputError, SpaceError
from nas.core.files import whole_folder, write_synced
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.extract import NEEDS_SPEECH
from supernets.hubert.plain import PlainHubert
from supernets.hubert.space import LayerPlan, SubnetPlan
from supernets.tasks.waves import SAMPLE_RATE

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
MODEL_TYPE = "nas_hubert"

# Of HuBERTs with layer norm in their convolutions: each clip to mean 0 and variance 1, padding
# masked.
PREPARATION = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
    "sampling_rate": SAMPLE_RATE, "padding_side": "right", "padding_value": 0.0,
    "do_normalize": True, "return_attention_mask": True,
}


def save_folder(module: nn.Module, path: Path) -> None:
    """Writes an extracted encoder; the folder is whole or not there.

    Args:
        module: What `HubertSupernet.extract` gave.
        path: New.

    Raises:
        InputError: Another kind of module.
        OSError: The place is taken, or a file cannot be written.
    """
    save_pretrained = getattr(module, "save_pretrained", None)
    if not isinstance(module, PlainHubert) and save_pretrained is None:
        raise InputError(f"a {type(module).__name__} is no encoder that was extracted from a "
                         "HubertSupernet; give what its extract() returns")
    with whole_folder(path) as folder:
        if isinstance(module, PlainHubert):
            _save_plain(module, folder)
        elif save_pretrained is not None:
            save_pretrained(folder)
            for file in folder.iterdir():  # it does not wait until they are on the disk
                with file.open("rb+") as handle:
                    os.fsync(handle.fileno())
        write_synced(folder / PREPROCESSOR, _json(PREPARATION))


def open_folder(path: Path) -> nn.Module:
    """Returns the encoder of a folder that `save_folder` wrote, in evaluation mode.

    Raises:
        DataError: A file is missing or damaged, or the model is of another type.
        InputError: It is a HubertModel's, and transformers is not installed.
    """
    payload = read_config(path / CONFIG)
    if payload.get("model_type") == MODEL_TYPE:
        return _open_plain(path, payload)
    if payload.get("model_type") != "hubert":
        raise DataError(f"{path / CONFIG} is of model type {payload.get('model_type')!r}, not "
                        f"'hubert' or {MODEL_TYPE!r}")
    try:
        from transformers import HubertModel
    except ImportError:
        raise InputError(NEEDS_SPEECH) from None
    if not (path / WEIGHTS).is_file():
        raise DataError(f"{path} lacks {WEIGHTS}; save the encoder again")
    try:
        module: nn.Module
        module, info = HubertModel.from_pretrained(path, local_files_only=True,
                                                   output_loading_info=True)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read ({_line(error)}); save the encoder again") from None
    for what in ("missing_keys", "unexpected_keys"):  # of which it only warns
        if info[what]:
            raise DataError(f"{path / WEIGHTS} has {what.replace('_', ' ')}, the first "
                            f"{min(info[what])!r}; save the encoder again")
    return module.eval()


def _save_plain(module: PlainHubert, folder: Path) -> None:
    state = {name: tensor.detach().cpu().contiguous()
             for name, tensor in module.state_dict().items()}
    payload = {"model_type": MODEL_TYPE, "architectures": [type(module).__name__],
               "elastic": asdict(module.elastic), "subnet": asdict(module.subnet)}
    write_synced(folder / CONFIG, _json(payload))
    write_synced(folder / WEIGHTS, save(state, metadata={"format": "pt"}))


def _open_plain(path: Path, payload: dict[str, Any]) -> nn.Module:
    try:
        config = ElasticHubertConfig.from_dict(payload["elastic"])
        subnet = payload["subnet"]
        layers = tuple(LayerPlan(**layer) for layer in subnet["layers"])
        with torch.device("meta"):
            module = PlainHubert(config, SubnetPlan(subnet["embed"], layers))
        module.load_state_dict(load_file(path / WEIGHTS), assign=True)
    except FileNotFoundError:
        raise DataError(f"{path} lacks {WEIGHTS}; save the encoder again") from None
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, SpaceError,
            SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({_line(error)}); save the encoder again") from None
    return module.eval()


def read_config(path: Path) -> dict[str, Any]:
    """Returns the configuration of a folder that `save_folder` or `save_pretrained` wrote.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        payload = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path.parent} is no folder of an encoder: it has no {path.name}; give "
                        "one that save_pretrained wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); save the encoder again") from None
    if not isinstance(payload, dict):
        raise DataError(f"{path} is no JSON object; save the encoder again")
    return payload


def _json(payload: dict[str, Any]) -> bytes:
    return (json.dumps(payload, indent=1) + "\n").encode()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
