"""A bundle measured on another machine over ssh: copy, run, copy back."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.bundle import agent_source
from hardware_profiles.bundle_manifest import AGENT
from nas.core.errors import InputError, NasError

_STOPPED = 130


class RemoteError(NasError):
    """ssh, scp or the agent on the other machine failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentOptions:
    """How the agent is run; see ``agent.py --help``.

    Attributes:
        python: The Python there that has numpy and onnxruntime.
        provider: Short name of the execution provider.
        provider_options: ``name=value`` each.
        max_temp_c: Wait while hotter.
        power: Measure energy, too.
    """

    python: str = "python3"
    provider: str = "cpu"
    provider_options: Sequence[str] = ()
    max_temp_c: float | None = None
    power: bool = False

    def arguments(self) -> list[str]:
        """Returns the agent's arguments."""
        found = ["--ep", self.provider]
        for option in self.provider_options:
            found += ["--ep-option", option]
        if self.max_temp_c is not None:
            found += ["--max-temp", str(self.max_temp_c)]
        return [*found, "--power"] if self.power else found


def run_remotely(host: str, bundle: Path, result: Path, *, folder: str,
                 options: AgentOptions) -> None:
    """Measures a bundle on another machine; the agent's progress goes to this one's stderr.

    The same call goes on where a stopped one was, because the agent's journal stays there.

    Args:
        host: As ssh takes it, such as ``user@board``.
        bundle: The zip file here.
        result: Where the result is put here.
        folder: Name of a folder in the home folder there, made if absent.
        options: How the agent is run.

    Raises:
        InputError: A host that ssh would take for an option.
        RemoteError: ssh, scp or the agent failed.
    """
    if not host or host.startswith("-") or any(char.isspace() for char in host):
        raise InputError(f"--host {host!r}: give it as user@board")
    again = "then run the same command again"
    _run(["ssh", host, f"mkdir -p {shlex.quote(folder)}"],
         remedy=f"check that `ssh {host} true` works, {again}")
    agent = bundle.with_name(f".{bundle.name}.{AGENT}")
    try:
        agent.write_bytes(agent_source())
        _run(["scp", "-q", str(agent.absolute()), f"{host}:{folder}/{AGENT}"],
             remedy=f"free space there, {again}")
    finally:
        agent.unlink(missing_ok=True)
    _run(["scp", "-q", str(bundle.absolute()), f"{host}:{folder}/bundle.zip"],
         remedy=f"free space there, {again}")
    name = f"result-{options.provider}.json"
    command = shlex.join([options.python, AGENT, "--bundle", "bundle.zip", "--out", name,
                          *options.arguments()])
    _run(["ssh", host, f"cd {shlex.quote(folder)} && {command}"],
         remedy=f"the agent's last line above says why; remedy that, {again}: it goes on where "
                "it was")
    _run(["scp", "-q", f"{host}:{folder}/{name}", str(result.absolute())],
         remedy=f"free space here, {again}")


def _run(command: list[str], *, remedy: str) -> None:
    try:
        code = subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise RemoteError(f"{command[0]} is not installed here; install it, or copy the bundle by "
                          "hand, run its agent there and give the result to "
                          "`nas profile import`") from None
    if code == _STOPPED:
        raise KeyboardInterrupt
    if code:
        raise RemoteError(f"{' '.join(command[:2])} ended with {code}; {remedy}")
