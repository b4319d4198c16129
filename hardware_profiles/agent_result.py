"""What the agent sends back, read with every doubt spelled out."""

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware_profiles.bundle_manifest import BundleId
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.profile import Precision
from nas.core.errors import ProfileError
from nas.core.files import os_error_line

RESULT_SCHEMA = 1
RUN_AGAIN = "run the agent again on the device"

Nanoseconds = Annotated[int, Field(strict=True, ge=0, le=10**15)]  # two weeks
Positive = Annotated[float, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PassRecord(_Frozen):
    """One pass over one model, in ns; see `hardware_profiles.pass_times.PassTimes`."""

    cpu_ns: tuple[Nanoseconds, ...]
    wall_ns: tuple[Nanoseconds, ...]
    loop_cpu_ns: Nanoseconds
    loop_wall_ns: Nanoseconds

    def times(self) -> PassTimes:
        """Returns the same as arrays."""
        return PassTimes(np.array(self.cpu_ns, np.int64), np.array(self.wall_ns, np.int64),
                         self.loop_cpu_ns, self.loop_wall_ns)


class EnergyRecord(_Frozen):
    """Energy of one network over a window of runs.

    Attributes:
        mj: Per inference, of all that the sensor sees; nothing is subtracted.
        runs: In the window.
        watts: Mean power meanwhile.
        idle_watts: Mean power before, with nothing running.
        source: ``rapl`` (the processor's package) or ``tegrastats`` (the whole board).
    """

    mj: Positive
    runs: Annotated[int, Field(ge=1)]
    watts: Positive
    idle_watts: Annotated[float, Field(ge=0)]
    source: Literal["rapl", "tegrastats"]


class ModelRecord(_Frozen):
    """All that was measured of one model; `sha256` is that of the file which the agent ran."""

    sha256: str
    passes: Annotated[tuple[PassRecord, ...], Field(min_length=1)]
    peak_bytes: Annotated[int, Field(gt=0)] | None
    energy: EnergyRecord | None


class Repeats(_Frozen):
    """How often each model was measured; see `hardware_profiles.profile.MeasureProtocol`."""

    runs: Annotated[int, Field(ge=1)]
    passes: Annotated[int, Field(ge=2)]
    max_passes: Annotated[int, Field(ge=2)]


class Setup(_Frozen):
    """How the agent ran the models; see `hardware_profiles.profile.Runtime`."""

    provider: str
    provider_options: dict[str, str]
    threads: int
    batch: int
    precision: Precision
    version: str
    timer: Literal["thread_cpu", "wall"]
    nets_only: bool
    power: bool
    protocol: Repeats


class Machine(_Frozen):
    """What the device says of itself."""

    cpu: str
    cores: int
    soc: str | None
    l4t: str | None
    memory_bytes: int
    os: str
    machine: str
    python: str
    numpy: str
    onnxruntime: str


class State(_Frozen):
    """Clocks, temperatures and power mode at one moment, where the device tells them."""

    when: str
    time: float
    clock_mhz: tuple[Positive, ...] | None
    temperature_c: dict[str, float] | None
    power_mode: str | None


class AgentResult(_Frozen):
    """The content of ``result.json``.

    Attributes:
        schema_version: Of this form.
        complete: Whether everything was measured.
        bundle: Id of the bundle.
        setup: How the models were run.
        machine: What ran them.
        states: At the start, after each pass over all models, and at the end.
        models: By key, see `hardware_profiles.plan`.
    """

    schema_version: Literal[1]
    complete: Literal[True]
    bundle: BundleId
    setup: Setup
    machine: Machine
    states: tuple[State, ...]
    models: dict[str, ModelRecord]


def read_result(path: Path) -> AgentResult:
    """Returns an agent's result.

    Raises:
        ProfileError: The file is missing, damaged, half-way or of another schema version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        half = path.with_name(f"{path.name}.journal").exists()
        raise ProfileError(
            f"result {path} does not exist yet: the agent was stopped half-way; run the same "
            "command again on the device, it goes on where it was" if half else
            f"result {path} does not exist; copy it here from the device") from None
    except OSError as error:
        raise ProfileError(f"result {path} cannot be read ({os_error_line(error)})") from None
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:
        first = data.partition(b"\n")[0]
        if first.startswith(b'{"journal"'):
            raise _half_way(path) from None
        raise ProfileError(f"result {path} is truncated or damaged ({error}); copy it from the "
                           "device again") from None
    return _checked(payload, path)


def _checked(payload: object, path: Path) -> AgentResult:
    if not isinstance(payload, dict) or "journal" in payload:
        raise _half_way(path)
    version = payload.get("schema_version")
    if version != RESULT_SCHEMA:
        newer = isinstance(version, int) and version > RESULT_SCHEMA
        raise ProfileError(
            f"result {path} has schema version {version}, this program reads {RESULT_SCHEMA}; "
            + ("install a newer nas-service" if newer else f"export anew and {RUN_AGAIN}"))
    if payload.get("complete") is not True:
        raise _half_way(path)
    try:
        return AgentResult.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = " → ".join(map(str, first["loc"]))
        raise ProfileError(f"result {path} is damaged ({where}: {first['msg']}, not "
                           f"{str(first['input'])[:40]}); {RUN_AGAIN}") from None


def _half_way(path: Path) -> ProfileError:
    return ProfileError(f"{path} is no whole result: the agent was stopped half-way; run the same "
                        "command again on the device, it goes on where it was")
