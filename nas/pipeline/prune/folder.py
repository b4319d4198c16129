"""The folder of `nas prune`: what is in it, and what a repeated command must agree on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import DataError, InputError
from nas.core.files import partial_file, replace_file
from nas.core.locks import LOCK
from nas.pipeline.prune.request import PruneRequest
from supernets.timm.create import check_name, preprocessing_of
from supernets.timm.stored import READABLE
from supernets.timm.weight_files import fingerprint

OPTIONS = "options.json"
LABELS, TEACHER = "labels", "kd"  # what a network has learnt from

# What may differ: where images lie, and which methods are wanted of all that the folder may have.
_FREE = ("data", "dataset", "download", "out", "workers", "method", "compare", "kd")


@dataclass(frozen=True, slots=True)
class PruneDir:
    """Paths in the folder."""

    path: Path

    @property
    def options(self) -> Path:
        return self.path / OPTIONS

    @property
    def profile(self) -> Path:
        """The latencies that networks were chosen by."""
        return self.path / "profile.json"

    @property
    def unpruned(self) -> Path:
        """The bundle of the network that is pruned."""
        return self.path / "unpruned"

    @property
    def unpruned_latency(self) -> Path:
        return self.path / "unpruned-latency.json"

    @property
    def unpruned_training(self) -> Path:
        return self.path / "unpruned-training"

    @property
    def supernet(self) -> Path:
        """The space as a supernet folder, with the unpruned network's weights."""
        return self.path / "supernet"

    @property
    def result(self) -> Path:
        return self.path / "prune.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def comparison(self) -> Path:
        return self.path / "compare.json"

    @property
    def comparison_report(self) -> Path:
        return self.path / "compare.html"

    def method(self, name: str) -> Path:
        """Returns the folder of one method."""
        return self.path / name.replace(":", "-")

    def choice(self, name: str) -> Path:
        """Returns the file of the network that a method has chosen."""
        return self.method(name) / "choice.json"

    def training(self, name: str, learnt_from: str) -> Path:
        """Returns the folder of a chosen network's training."""
        return self.method(name) / f"{learnt_from}-training"

    def bundle(self, name: str, learnt_from: str) -> Path:
        """Returns the folder of its bundle."""
        return self.method(name) / learnt_from

    def latency(self, name: str, learnt_from: str) -> Path:
        """Returns the file of what its bundle and the unpruned one were measured at."""
        return self.method(name) / f"{learnt_from}-latency.json"

    def check(self, request: PruneRequest) -> None:
        """Checks that the folder is of this work, or free for it.

        Raises:
            InputError: It holds something else, or work with other options.
            DataError: Its options cannot be read.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; give --out a folder")
        if not self.options.is_file():
            ours = {LOCK, READABLE, *(partial_file(self.path / name).name
                                      for name in (OPTIONS, READABLE))}
            if self.path.is_dir() and {path.name for path in self.path.iterdir()} - ours:
                raise InputError(f"{self.path} exists and holds nothing pruned; give another "
                                 "--out")
            return
        try:
            found = dict(json.loads(self.options.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self.options} cannot be read ({error}); give another --out"
                            ) from None
        for option, value in options(request).items():
            if found.get(option) != value:
                raise InputError(f"{self.path} was made with {option} {found.get(option)!r}, not "
                                 f"{value!r}; give that again, or another --out")

    def begin(self, request: PruneRequest) -> None:
        """Writes the options, where there are none.

        Raises:
            OSError: They cannot be written.
        """
        if not self.options.is_file():
            write_json(self.options, options(request))


def options(request: PruneRequest) -> dict[str, Any]:
    """Returns option → value, as JSON; of files what is in them counts.

    Raises:
        InputError: A model or a file that does not exist.
    """
    check_name(request.name)
    values = request.model_dump(mode="json", exclude=set(_FREE))
    for budget in ("macs", "params", "max_latency_ms"):
        if values[budget] is not None:
            values[budget] = values[budget]["text"]
    values["image_size"] = request.image_size or preprocessing_of(request.name)["input_size"][-1]
    values["exclude"] = sorted(request.exclude)
    if request.weights is not None:
        values["weights"] = fingerprint(request.weights)
    return {f"--{name.replace('_', '-')}": value for name, value in values.items()}


def write_json(path: Path, value: Any) -> None:
    """Writes a file of JSON; the folder is made.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns what `write_json` wrote, or None where there is no file.

    Raises:
        DataError: It is damaged.
    """
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it to do that step anew"
                        ) from None
