"""A hardware profile: what one device, runtime and space measured, as one JSON file.

Times are in ms. This module imports no runtime, so listing profiles is quick.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from nas.core.blocks import Block, Shape
from nas.core.errors import ProfileError
from nas.core.files import os_error_line, replace_file
from nas.core.space import GeneSpace

SCHEMA_VERSION = 1
BUILDER_VERSION = 1  # raise it when the same block is written as other ONNX nodes than before
AGAIN = "run `nas profile run` to measure anew"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Device(_Frozen):
    """The machine; what it cannot tell is None.

    Attributes:
        id: Names it in files and options.
        name: For people.
        cpu: The processor, as the system names it.
        cores: Logical ones.
        memory_bytes: All of it.
        os: The system and its version.
        soc: The system on chip.
        power_mode: Such as the CPU's frequency governor.
        clock_mhz: While measuring.
        temperature_c: While measuring.
    """

    id: str
    name: str
    cpu: str
    cores: int
    memory_bytes: int
    os: str
    soc: str | None = None
    power_mode: str | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None


class Runtime(_Frozen):
    """What executes the network, and how; a profile is good for exactly this.

    Attributes:
        name: Of the runtime.
        version: Of the runtime.
        provider: ONNX Runtime's execution provider, the only one allowed to run.
        provider_options: What it was given.
        optimization: Level of graph optimisation.
        threads: Of each inference.
        precision: Of weights and activations.
        batch: Of each inference.
    """

    name: str = "onnxruntime"
    version: str
    provider: str = "CPUExecutionProvider"
    provider_options: dict[str, str] = {}
    optimization: Literal["all"] = "all"
    threads: int = 1
    precision: Literal["fp32"] = "fp32"
    batch: int = 1


class MeasureProtocol(_Frozen):
    """How a latency is taken.

    Attributes:
        warm_up: Runs thrown away at the start of each pass.
        runs: Timed runs of a pass; the pass counts with its fastest.
        passes: Passes that must agree, each over all models in a new random order.
        max_passes: Where measuring an unstable model again ends.
        tolerance: Passes agree when they are this close to the fastest one, as a share of it.
        timer: ``thread_cpu`` sees one thread; ``process_cpu`` all, with spinning off.
        statistic: What `Timing.latency_ms` is.
    """

    warm_up: int = Field(default=10, ge=0)
    runs: int = Field(default=80, ge=1)
    passes: int = Field(default=7, ge=2)
    max_passes: int = Field(default=21, ge=2)
    tolerance: float = Field(default=0.05, gt=0)
    timer: Literal["thread_cpu", "process_cpu"] = "thread_cpu"
    statistic: Literal["cpu_min_median"] = "cpu_min_median"


class Timing(_Frozen):
    """One model's measurement.

    Attributes:
        latency_ms: The protocol's statistic: the median of the minima of agreeing passes.
        cpu_min_ms: The smallest of `pass_ms`.
        wall_min_ms: Over all runs of all passes, as are the other wall times.
        pass_ms: Each pass's fastest run in CPU time, in the order of measuring.
        agreeing: Passes within the tolerance of the fastest one.
        stable: Whether as many passes agree as the protocol asks for.
        runs: Timed runs altogether.
    """

    latency_ms: float
    cpu_min_ms: float
    wall_min_ms: float
    wall_median_ms: float
    wall_p95_ms: float
    pass_ms: tuple[float, ...]
    agreeing: int
    stable: bool
    runs: int


class Entry(_Frozen):
    """A block of the vocabulary, measured alone.

    Attributes:
        key: Names the block by its shapes and choices.
        timing: Its measurement, a run's overhead included.
    """

    key: str
    timing: Timing


class Subnet(_Frozen):
    """A whole network.

    Attributes:
        digest: Of its architecture.
        codes: The index of each gene's choice.
        split: Fitted on, or held out.
        timing: Its measurement.
    """

    digest: str
    codes: tuple[int, ...]
    split: Literal["calib", "test"]
    timing: Timing


class Quality(_Frozen):
    """Predicted against measured; shares, not percents.

    Attributes:
        mape: Mean of the absolute relative error.
        bias: Mean relative error; > 0 predicts too slow.
        in5: Share of networks predicted to within 5 %.
        in10: To within 10 %.
        spearman: Rank correlation.
    """

    mape: float
    bias: float
    in5: float
    in10: float
    spearman: float


class Calibration(_Frozen):
    """latency_ms = block_sum · Σ(block − empty) + block_count · blocks + constant_ms.

    Attributes:
        model: Name of that form.
        block_sum: Its coefficient, 1.
        block_count: Its coefficient, ms a block.
        constant_ms: Per run.
        empty_ms: The measured empty graph, taken off each block.
        calib_count: Networks fitted on.
        test_count: Networks held out.
        held_out: Quality on these.
        lower_ratio: 5 % quantile of measured / predicted over the held-out networks.
        upper_ratio: The 95 % quantile.
        baselines: Held-out quality of ``block_sum`` (nothing fitted) and ``macs`` (one factor
            fitted on the same networks), to see what the calibration gains.
    """

    model: Literal["affine_blocks"] = "affine_blocks"
    block_sum: float
    block_count: float
    constant_ms: float
    empty_ms: float
    calib_count: int
    test_count: int
    held_out: Quality
    lower_ratio: float
    upper_ratio: float
    baselines: dict[str, Quality]


class Validity(_Frozen):
    """Where the profile holds and how far it can be trusted.

    Attributes:
        input_shape: (C, H, W).
        ops: Operators of the vocabulary.
        repeat_spearman: Of the whole networks: the statistic from every other pass against that
            from the rest, each half choosing its own agreeing passes.
        repeat_difference: Median of the relative difference of those halves.
        pass_spearman: The same of single passes, nothing left out: the median over all pairs of
            the protocol's first passes. It shows how restless the machine was.
        pass_difference: Median relative difference of single passes, median over the pairs.
        wall_over_cpu: Above 1.1 other processes took the core away.
        unstable: Entries and networks whose passes never agreed.
        warnings: What a reader should know, one line each.
        valid: False if the measurement did not repeat.
    """

    input_shape: Shape
    ops: tuple[str, ...]
    repeat_spearman: float
    repeat_difference: float
    pass_spearman: float
    pass_difference: float
    wall_over_cpu: float
    unstable: int
    warnings: tuple[str, ...]
    valid: bool


class ProfileKey(_Frozen):
    """All that a latency depends on; equal keys mean the profile may be reused.

    Attributes:
        device: Id of the device.
        runtime: Name of the runtime.
        version: Of the runtime.
        provider: Its execution provider.
        precision: Of weights and activations.
        threads: Of each inference.
        batch: Of each inference.
        space: Id of the space.
        generator: See `generator_hash`.
    """

    device: str
    runtime: str
    version: str
    provider: str
    precision: str
    threads: int
    batch: int
    space: str
    generator: str

    @property
    def file_name(self) -> str:
        """Readable parts, then a hash of the whole key."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
        parts = (self.device, self.space, f"{self.threads}t", self.version, digest)
        return "-".join(slug(part) for part in parts) + ".json"


class HardwareProfile(_Frozen):
    """The file's content.

    Attributes:
        schema_version: Of this form.
        id: Readable, and different for each `ProfileKey`.
        kind: How its latencies came about.
        device: The machine.
        runtime: What executed the networks.
        space: Id of the space.
        generator: See `generator_hash`.
        protocol: How a latency was taken.
        entries: Each block of the vocabulary, in its order.
        subnets: Whole networks: those of the fit, then those held out.
        calibration: From blocks to networks, and how well that holds.
        validity: Where it holds, and what to doubt.
        provenance: Program, versions and seed.
        licence: Of this file.
        created: When.
    """

    schema_version: Literal[1] = 1
    id: str
    kind: Literal["measured", "fewshot", "estimated"]
    device: Device
    runtime: Runtime
    space: str
    generator: str
    protocol: MeasureProtocol
    entries: tuple[Entry, ...]
    subnets: tuple[Subnet, ...]
    calibration: Calibration
    validity: Validity
    provenance: dict[str, str]
    licence: str
    created: AwareDatetime

    @property
    def key(self) -> ProfileKey:
        """What the profile is good for."""
        return profile_key(self.device, self.runtime, space=self.space, generator=self.generator)


def profile_key(device: Device, runtime: Runtime, *, space: str, generator: str) -> ProfileKey:
    """Returns the key of a device, runtime and space."""
    return ProfileKey(device=device.id, runtime=runtime.name, version=runtime.version,
                      provider=runtime.provider, precision=runtime.precision,
                      threads=runtime.threads, batch=runtime.batch, space=space,
                      generator=generator)


def generator_hash(space: GeneSpace, vocabulary: Sequence[Block]) -> str:
    """Returns 16 hex digits that change with the space's genes, its blocks or their ONNX form."""
    genes = [(gene.name, gene.choices) for gene in space.genes]
    content = [BUILDER_VERSION, space.id, genes, [block.key for block in vocabulary]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def require_space(profile: HardwareProfile, *, space: str, generator: str) -> None:
    """Checks that a profile was measured for this space as it is now.

    Raises:
        ProfileError: It is of another space, or the space's genes or blocks have changed.
    """
    if profile.space != space:
        raise ProfileError(f"profile {profile.id} is of space {profile.space}, not {space}; "
                           f"{AGAIN}")
    if profile.generator != generator:
        raise ProfileError(f"profile {profile.id} was measured for another version of space "
                           f"{space} (generator {profile.generator}, now {generator}); {AGAIN}")


def require_key(profile: HardwareProfile, key: ProfileKey, *, remedy: str) -> None:
    """Checks that a profile is good for exactly this device, runtime and space.

    Raises:
        ProfileError: It is not; the message says in what, and ends with `remedy`.
    """
    there, here = profile.key.model_dump(), key.model_dump()
    differences = [f"{name} is {there[name]} there and {here[name]} here"
                   for name in there if there[name] != here[name]]
    if differences:
        raise ProfileError(f"profile {profile.id} is not for this: {'; '.join(differences)}; "
                           f"{remedy}")


def read_profile(path: Path, *, remedy: str = AGAIN) -> HardwareProfile:
    """Returns the profile in a file; `remedy` ends the message of an error.

    Raises:
        ProfileError: The file is missing, damaged, or of another schema version.
    """
    try:
        payload = json.loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"profile {path} is damaged ({error}); {remedy}") from None
    version = payload.get("schema_version") if isinstance(payload, dict) else None
    if version != SCHEMA_VERSION:
        raise ProfileError(f"profile {path} has schema version {version}, this program reads "
                           f"{SCHEMA_VERSION}; {remedy}")
    try:
        return HardwareProfile.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"profile {path} is damaged ({where}: {first['msg']}); "
                           f"{remedy}") from None


def write_profile(profile: HardwareProfile, path: Path) -> None:
    """Writes the profile so that at every moment the file is whole: write, fsync, rename.

    Raises:
        ProfileError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, profile_bytes(profile))
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be written ({os_error_line(error)}); free space "
                           "or set NAS_CACHE_DIR to a folder that can be written") from None


def profile_bytes(profile: HardwareProfile) -> bytes:
    """Returns what the profile's file holds."""
    return (profile.model_dump_json(indent=1) + "\n").encode()


def slug(text: str) -> str:
    """Returns the text as part of a file name: lower case, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
