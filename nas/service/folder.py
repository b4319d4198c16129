"""The data folder of a server: where everything is that a restart must find again."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import DiskError, InputError
from nas.core.files import os_error_line, replace_file
from nas.core.locks import exclusive

_MODE = 0o700  # jobs, uploads and hashes of tokens are nobody else's business


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths below the data folder DIR; nothing is made before `make`.

    Attributes:
        root: DIR itself.
    """

    root: Path

    @property
    def database(self) -> Path:
        """The service's SQLite file."""
        return self.root / "service.db"

    @property
    def slots(self) -> Path:
        return self.root / "slots"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def data(self) -> Path:
        """What the admin puts there for jobs; paths in jobs are relative to it."""
        return self.root / "data"

    def slot_lock(self, slot: int) -> Path:
        """Locked by the worker of a slot for as long as it lives."""
        return self.slots / f"{slot}.lock"

    def job(self, job_id: str) -> Path:
        return self.jobs / job_id

    def run(self, job_id: str) -> Path:
        """The run folder of a search; the out folder of a ranking, a pruning or an export."""
        return self.job(job_id) / "run"

    def events(self, job_id: str) -> Path:
        return self.job(job_id) / "events.jsonl"

    def result(self, job_id: str) -> Path:
        """The payload of a job that is done."""
        return self.job(job_id) / "result.json"

    def running_lock(self, job_id: str) -> Path:
        """Locked by the process that works on the job."""
        return self.job(job_id) / ".running"

    def upload(self, upload_id: str) -> Path:
        return self.uploads / upload_id

    def upload_card(self, upload_id: str) -> Path:
        """Says of an upload what it is and whose."""
        return self.uploads / f"{upload_id}.json"

    def make(self) -> None:
        """Makes what is absent, for this user's eyes only; safe to be called by several at once.

        Raises:
            InputError: DIR cannot be a folder.
            DiskError: It cannot be written.
        """
        try:
            self.root.mkdir(mode=_MODE, parents=True, exist_ok=True)
            for folder in (self.slots, self.jobs, self.uploads, self.data):
                folder.mkdir(mode=_MODE, exist_ok=True)
            if not self._id_file.exists():
                with exclusive(lock := self.root / ".making", wait=True):
                    if not self._id_file.exists():
                        replace_file(self._id_file, f"{secrets.token_hex(8)}\n".encode())
                    lock.unlink()
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"--data {os_error_line(error)}; give a folder") from None
        except OSError as error:
            raise DiskError(f"--data {os_error_line(error)}; give a folder that can be written"
                            ) from None

    @property
    def folder_id(self) -> str:
        """Tells this folder from all others, wherever it is moved; a database keeps it too.

        Raises:
            InputError: The folder was never made by a server.
        """
        try:
            return self._id_file.read_text().strip()
        except OSError as error:
            raise InputError(f"--data {os_error_line(error)}; give the folder of a server, or "
                             "let nas serve make one") from None

    @property
    def _id_file(self) -> Path:
        return self.root / "folder-id"
