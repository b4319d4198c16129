"""The files of trained networks, three a network; each is whole or not there.

``DIGEST.json`` has the metrics after each epoch, ``DIGEST.pt`` is the state of a training that
goes on, ``DIGEST.safetensors`` the weights of a network that is fully trained. The first is
written before the other two: what they stand for is in it.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from nas.core.errors import DataError
from nas.core.files import replace_file

History = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """Those of one network.

    Attributes:
        folder: Made when it is first needed.
        digest: Of the network.
        identity: What must be equal for a training to be continued: a text.
    """

    folder: Path
    digest: str
    identity: str

    def history(self) -> list[Mapping[str, float]]:
        """Returns the metrics after each epoch so far; none if nothing was trained.

        Raises:
            DataError: The file is damaged or of another training.
        """
        path = self._path("json")
        if not path.exists():
            return []
        try:
            found = json.loads(path.read_bytes())
            identity = str(found["identity"])
            epochs: list[Mapping[str, float]] = [dict(metrics) for metrics in found["epochs"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read ({error}); remove it to train that network "
                            "anew") from None
        if identity != self.identity:
            raise DataError(f"{path} is of another training (its images or recipe have "
                            "changed since); remove it to train that network anew")
        return epochs

    def write_history(self, epochs: History) -> None:
        """Writes the metrics after each epoch.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"identity": self.identity, "epochs": list(map(dict, epochs))})
        replace_file(self._path("json"), text.encode())

    def state(self) -> Mapping[str, Any] | None:
        """Returns the state of a training that goes on, or None.

        Raises:
            DataError: The file is damaged.
        """
        path = self._path("pt")
        if not path.exists():
            return None
        try:
            state: Mapping[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # whatever a damaged file makes the unpickler raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"checkpoint {path} cannot be read ({reason}); remove it to train "
                            "that network anew") from None
        return state

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Writes the state of a training that goes on.

        Raises:
            OSError: It cannot be written.
        """
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save(dict(state), buffer)
        replace_file(self._path("pt"), buffer.getvalue())

    def remove_state(self) -> None:
        """Removes what only further training needs."""
        self._path("pt").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether there are weights."""
        return self._path("safetensors").is_file()

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights of the fully trained network.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self._path("safetensors")
        try:
            return dict(load(path.read_bytes()))
        except Exception as error:  # safetensors raises its own kinds
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"weights {path} cannot be read ({reason}); remove it to train that "
                            "network anew") from None

    def write_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Writes the weights of the fully trained network; its training does not go on.

        Raises:
            OSError: It cannot be written.
        """
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        replace_file(self._path("safetensors"), save(plain))
        self.remove_state()

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.digest}.{ending}"
