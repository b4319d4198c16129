"""The folder of one run: what is in it and how files get there whole."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware_profiles.profile import HardwareProfile, read_profile, write_profile
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
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def best(self) -> Path:
        return self.path / "best"

    def ledger(self, config: SearchConfig) -> tuple[Path | str, str]:
        """Returns the storage of the ledger and the name of its study there.

        In a storage that runs share, a study bears the name that its run folder was made with.
        """
        if config.storage is None:
            return self.journal, "nas"
        return config.storage, (config.out or self.path).name

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
    def create(config: SearchConfig, profile: HardwareProfile) -> "RunDir":
        """Makes the folder `config.out` with the configuration, last, and the profile."""
        assert config.out is not None
        run = RunDir(config.out)
        run.path.mkdir(parents=True)
        write_profile(profile, run.profile)
        write_config(config, run.config)
        return run

    @staticmethod
    def open(path: Path) -> tuple["RunDir", SearchConfig, HardwareProfile]:
        """Returns a run folder with its configuration and profile.

        Raises:
            InputError: It is no run folder.
        """
        run = RunDir(path)
        if not run.config.is_file():
            raise InputError(f"{path} is no run folder: it has no config.toml")
        return run, make_config(read_config(run.config)), read_profile(run.profile)


def write_json(payload: Any, path: Path) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(payload, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
