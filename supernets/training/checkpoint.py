"""The file that a stopped training goes on from."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.core.errors import DataError
from nas.core.files import replace_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One file; it is whole or not there.

    Attributes:
        path: Of the file.
        identity: What must be equal for a training to be continued.
    """

    path: Path
    identity: Mapping[str, Any]

    def write(self, state: Mapping[str, Any]) -> None:
        """Replaces the file.

        Raises:
            OSError: It cannot be written; then the old one is still there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save({"identity": dict(self.identity), **state}, buffer)
        replace_file(self.path, buffer.getvalue())

    def read(self, load: Callable[[Mapping[str, Any]], None]) -> None:
        """Gives the state to `load`, if there is a file.

        Raises:
            DataError: The file is damaged or of another training.
        """
        self._open(load, mmap=False)

    def check(self) -> None:
        """Does what `read` does but for giving the state: no tensor is read.

        Raises:
            DataError: The file is damaged or of another training.
        """
        self._open(lambda _: None, mmap=True)

    def _open(self, load: Callable[[Mapping[str, Any]], None], *, mmap: bool) -> None:
        if not self.path.exists():
            return
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu", mmap=mmap)
            self._check(state["identity"])
            load(state)
        except DataError:
            raise
        except Exception as error:  # whatever a damaged file makes the unpickler raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(f"checkpoint {self.path} cannot be read ({reason}); remove it to "
                            "start anew") from None

    def _check(self, saved: Mapping[str, Any]) -> None:
        for name, value in self.identity.items():
            if saved.get(name) != value:
                raise DataError(f"checkpoint {self.path} is of another training ({name} is "
                                f"{saved.get(name)!r} there, {value!r} here); give that again, "
                                "remove it to start anew, or use another --out")
