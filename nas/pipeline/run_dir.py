"""The folder of one run: what is in it and how files get there whole."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes, read_profile
from nas.core.errors import DiskError, InputError, ProfileError
from nas.core.files import os_error_line, sweep, whole_folder, write_synced
from nas.core.locks import locked
from nas.pipeline.config import SearchConfig, config_text, make_config, read_config

CONFIG, PROFILE = "config.toml", "profile.json"


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def profile(self) -> Path:
        """The latencies that this run was scored with: a resumed run uses the same."""
        return self.path / PROFILE

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
    def samples(self) -> Path:
        """What each network of the front generates, a picture each, where networks do that."""
        return self.path / "samples"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def best_before(self) -> Path:
        """The bundle that fine-tuning has replaced."""
        return self.path / "best-before"

    def ledger(self, config: SearchConfig) -> tuple[Path | str, str]:
        """Returns the storage of the ledger and the name of its study there.

        In a storage that runs share, a study bears the name that was given, or else the one that
        its run folder was made with.
        """
        if config.storage is None:
            return self.journal, "nas"
        return config.storage, config.study or (config.out or self.path).name

    @staticmethod
    def new_path(config: SearchConfig) -> Path:
        """Returns where a new run goes.

        Raises:
            InputError: The folder exists.
        """
        if config.out is None:
            name = Path(config.supernet).name.replace(":", "-")
            stamp = time.strftime("%Y%m%d-%H%M%S")
            if config.join:  # several begin in one second
                stamp += f"-{os.getpid()}"
            path = Path("runs") / f"{name}-{config.device}-{stamp}"
        else:
            path = config.out
        if (path / CONFIG).is_file():
            raise InputError(f"{path} exists; give another --out, or --resume {path} to go on")
        if path.exists():
            raise InputError(f"{path} exists and is no run folder; give another --out")
        return path

    @staticmethod
    def create(config: SearchConfig, profile: HardwareProfile) -> "RunDir":
        """Makes the folder `config.out` with profile and configuration, whole or not at all.

        Raises:
            DiskError: It cannot be made; nothing was left behind.
        """
        assert config.out is not None
        try:
            with whole_folder(config.out) as folder:
                write_synced(folder / PROFILE, profile_bytes(profile))
                write_synced(folder / CONFIG, config_text(config).encode())
        except OSError as error:
            raise DiskError(f"run folder {config.out} cannot be made ({os_error_line(error)}); "
                            "remedy that or give another --out") from None
        return RunDir(config.out)

    @staticmethod
    def open(path: Path) -> tuple["RunDir", SearchConfig, HardwareProfile]:
        """Returns a run folder with its configuration and profile.

        Raises:
            InputError: It is no run folder, or a file of it is missing, damaged or of another
                version.
        """
        run = RunDir(path)
        if not path.is_dir():
            raise InputError(f"run folder {path} does not exist; a search that was stopped before "
                             "its first trial is started again without --resume")
        if not run.config.is_file():
            raise InputError(f"{path} is no run folder: it has no {CONFIG}")
        try:
            config = make_config(read_config(run.config))
        except InputError as error:
            raise InputError(f"{run.config} is not as a search of this version wrote it: "
                             f"{error}") from None
        try:
            profile = read_profile(run.profile, remedy="restore it, or start a new search")
        except ProfileError as error:
            raise ProfileError(f"run {path} lacks the latencies that it was scored with: "
                               f"{error}") from None
        return run, config, profile

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other searches out of the folder, and clears away what a killed one left.

        Raises:
            InputError: Another process searches there.
        """
        with locked(self.path, "search"):
            sweep(self.path)
            sweep(self.best)
            yield
