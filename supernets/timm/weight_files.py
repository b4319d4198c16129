"""Files of weights for timm's models, and in what way one does not fit."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from timm.models import load_state_dict
from torch import Tensor, nn

from nas.core.errors import InputError

Tensors = dict[str, Tensor]


def read_weights(file: Path) -> Tensors:
    """Returns the tensors of a .safetensors file, or of what ``torch.save`` wrote.

    Nothing in it is executed. Of a training checkpoint the averaged weights are taken, if any.

    Raises:
        InputError: It is missing, damaged, or holds something else.
    """
    _require(file)
    try:
        state = load_state_dict(str(file), weights_only=True)
    except Exception as error:  # whatever a damaged file makes its readers raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"weights file {file} cannot be read ({reason}); fetch it again: it must "
                         "be a .safetensors file or tensors by name from torch.save") from None
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if not state or other:
        what = f"its {other[0]!r} is none" if other else "it is empty"
        raise InputError(f"weights file {file} is not tensors by name: {what}; give the weights "
                         "alone")
    return state


def fingerprint(file: Path) -> str:
    """Returns the name of a file and the start of its SHA-256, for people and comparisons.

    Raises:
        InputError: It is missing.
    """
    _require(file)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return f"{file.name} (sha256 {digest[:12]})"


def class_count(state: Tensors, classifier: str | Sequence[str] | None) -> int | None:
    """Returns the classes of a classifier by its name in timm, None where there is none."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    for name in names:
        weight = state.get(f"{name}.weight")
        if weight is not None:
            return int(weight.shape[0])
    return None


def misfit(file: Path, name: str, state: Tensors, model: nn.Module, reason: str) -> str:
    """Returns the message that weights are not those of a model.

    Args:
        file: Of the weights.
        name: Of the model.
        state: What the file holds.
        model: With as many classes as are wanted.
        reason: What to say where all names and shapes are right.
    """
    wanted = model.state_dict()
    parts = [f"{len(keys)} tensors are {what}, such as {keys[0]}" for what, keys in (
        ("missing", [key for key in wanted if key not in state]),
        ("unexpected", [key for key in state if key not in wanted]),
        ("of another shape", [key for key in wanted if key in state
                              and state[key].shape != wanted[key].shape])) if keys]
    return (f"{file} does not hold the weights of {name}: {'; '.join(parts) or reason}; give those "
            "of this model, or the model that they are of")


def _require(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"weights file {file} does not exist; give a .safetensors file or one of "
                         "torch.save")
