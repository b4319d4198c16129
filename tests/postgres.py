"""A real PostgreSQL server for tests: its own data folder, a free loopback port, no durability."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_USER = "postgres"  # the server refuses to run as root


class NotAvailable(Exception):
    """No server can be started here; says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, with trust for everybody on this machine's loopback."""

    binaries: Path
    folder: Path
    port: int

    def create(self, name: str) -> str:
        """Makes a database and returns its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, name)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"),
                  "-o", options, "-w", "start")

    def stop(self) -> None:
        """Ends it at once, with all connections."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def initialize(self) -> None:
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", _USER, "-N",
                  "--locale=C", "-E", "UTF8")

    def _run(self, program: str, *arguments: str) -> None:
        user = _USER if os.geteuid() == 0 else None
        # Not through pipes: the server would inherit them and keep them open.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run([self.binaries / program, *arguments], user=user, group=user,
                                  extra_groups=[] if user else None, cwd=self.folder,
                                  stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program}: {said.read().decode()}")


@contextmanager
def server() -> Iterator[Server]:
    """Starts a server and ends it.

    Raises:
        NotAvailable: PostgreSQL or its user is missing.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
    try:
        if os.geteuid() == 0:
            try:
                shutil.chown(folder, _USER, _USER)
            except LookupError:
                raise NotAvailable(f"there is no user {_USER!r} to run PostgreSQL as") from None
        made = Server(binaries, folder, _free_port())
        made.initialize()
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = shutil.which("initdb")
    # Debian keeps them out of the path.
    places = [Path(found).resolve().parent] if found else sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not places:
        raise NotAvailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return places[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
