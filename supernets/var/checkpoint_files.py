"""What lies in a file of VAR's weights, before it is a model's."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.core.errors import DataError


def read_weights(path: Path, model: str) -> dict[str, Tensor]:
    """Returns the tensors of a model by name.

    Args:
        path: A file of torch or safetensors.
        model: Its name in a file of VAR's trainer, such as ``"var_wo_ddp"``.

    Raises:
        DataError: It is missing or damaged, needs code to be read, or has no such model.
    """
    content = _content(path)
    if isinstance(content, dict) and "trainer" in content:
        trainer = content["trainer"]
        if not isinstance(trainer, dict) or model not in trainer:
            raise DataError(f"{path} is of a trainer and has no trainer/{model}; give the file of "
                            "the model")
        content = trainer[model]
    if not isinstance(content, dict) or not content or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        raise DataError(f"{path} does not hold weights by name; save the model's state dict")
    return dict(content)


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give a checkpoint of VAR") from None
    except Exception as error:  # whatever a damaged file makes its reader raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path} cannot be read ({reason}); fetch it again, or, where it holds "
                        "more than tensors and plain values, save its model's state dict "
                        "alone") from None
