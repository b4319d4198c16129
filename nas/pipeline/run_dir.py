"""The folder of one run: what is in it and how files get there whole."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware_profiles.profile import Profile
from nas.core.errors import InputError
from nas.pipeline.config import SearchConfig, make_config, read_config, write_config


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def profile(self) -> Path:
        """The latencies that this run was scored with: a resumed run uses the same."""
        return self.path / "profile.json"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def pareto(self) -> Path:
        return self.path / "pareto.json"

    @property
    def picture(self) -> Path:
        return self.path / "pareto.png"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @staticmethod
    def new_path(config: SearchConfig) -> Path:
        """Returns where a new run goes.

        Raises:
            InputError: The folder exists.
        """
        if config.out is None:
            name = Path(config.supernet).name.replace(":", "-")
            stamp = time.strftime("%Y%m%d-%H%M%S")
            path = Path("runs") / f"{name}-{config.device}-{stamp}"
        else:
            path = config.out
        if path.exists():
            raise InputError(f"{path} exists; give another --out, or --resume {path} to go on")
        return path

    @staticmethod
    def create(path: Path, config: SearchConfig, profile: Profile) -> "RunDir":
        """Makes the folder with its configuration and profile."""
        run = RunDir(path)
        path.mkdir(parents=True)
        profile.write(run.profile)
        write_config(config.model_copy(update={"out": path}), run.config)
        return run

    @staticmethod
    def open(path: Path) -> tuple["RunDir", SearchConfig, Profile]:
        """Returns a run folder with its configuration and profile.

        Raises:
            InputError: It is no run folder.
        """
        run = RunDir(path)
        if not run.config.is_file():
            raise InputError(f"{path} is no run folder: it has no config.toml")
        config = make_config(read_config(run.config))
        return run, config.model_copy(update={"out": path}), Profile.read(run.profile)


def write_json(payload: Any, path: Path) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(payload, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
