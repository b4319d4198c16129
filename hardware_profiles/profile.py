"""A hardware profile: what one device, runtime and space measured, as plain frozen values.

Times are in ms. This module imports no runtime, so listing profiles is quick.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from hardware_profiles.identity import ProfileKey, profile_key
from nas.core.blocks import Shape
from nas.core.errors import ProfileError

SCHEMA_VERSION = 2

Kind = Literal["measured", "fewshot", "estimated"]  # best first: the order of look-up
Precision = Literal["fp32", "fp16", "int8"]
CONSTANT = "constant"  # the feature that every network has once


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
    cores: int | None
    memory_bytes: int | None
    os: str
    soc: str | None = None
    power_mode: str | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None

    @property
    def summary(self) -> str:
        """Name, cores and system, as far as known."""
        cores = f"{self.cores} cores" if self.cores else ""
        return ", ".join(part for part in (self.name, cores, self.os) if part)


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
    precision: Precision = "fp32"
    batch: int = 1


class MeasureProtocol(_Frozen):
    """How a latency is taken.

    Attributes:
        warm_up: Runs thrown away at the start of each pass.
        runs: Timed runs of a pass; the pass counts with its fastest.
        passes: Passes that must agree, each over all models in a new random order.
        max_passes: Where measuring an unstable model again ends.
        tolerance: Passes agree when they are this close to the fastest one, as a share of it.
        timer: ``thread_cpu``, of the calling thread; ``wall`` is for devices other than the CPU.
        statistic: What `Timing.latency_ms` is: the median, over the passes that agree, of each
            pass's fastest run by that timer.
    """

    warm_up: int = Field(default=10, ge=0)
    runs: int = Field(default=80, ge=1)
    passes: int = Field(default=7, ge=2)
    max_passes: int = Field(default=21, ge=2)
    tolerance: float = Field(default=0.05, gt=0)
    timer: Literal["thread_cpu", "wall"] = "thread_cpu"
    statistic: Literal["cpu_min_median", "wall_min_median"] = "cpu_min_median"


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
        peak_bytes: Largest resident memory that loading and running the model added, if known.
        energy_mj: Per inference, where the device has a power sensor.
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
    peak_bytes: int | None = None
    energy_mj: float | None = None


class TableTime(_Frozen):
    """One row of a table that somebody else measured: all that such tables tell.

    Attributes:
        latency_ms: As the table has it.
        std_ms: Standard deviation of the runs, if the table has it.
        runs: How many there were, if the table has it.
    """

    latency_ms: float
    std_ms: float | None = None
    runs: int | None = None


class Entry(_Frozen):
    """A block of the vocabulary, measured alone.

    Attributes:
        key: Names the block by its shapes and choices.
        timing: Its measurement, a run's overhead included.
    """

    key: str
    timing: Timing | TableTime


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


class Steps(_Frozen):
    """A function of one number that is constant between thresholds.

    Attributes:
        thresholds: Ascending; a number equal to one is below it.
        values: One more than thresholds.
    """

    thresholds: tuple[float, ...]
    values: tuple[float, ...]

    @model_validator(mode="after")
    def _shape(self) -> "Steps":
        if len(self.values) != len(self.thresholds) + 1 or (
                list(self.thresholds) != sorted(self.thresholds)):
            raise ValueError("steps need ascending thresholds and one value more than these")
        return self


class Calibration(_Frozen):
    """latency_ms = Σ over features of coefficient · feature, summed over a network's blocks.

    Some models multiply that by exp(Σ over features of steps(feature)).

    Attributes:
        model: Name of the form; see `hardware_profiles.calibrate`.
        coefficients: By feature (see `hardware_profiles.features`), in ms a unit;
            ``"constant"`` counts once a network.
        steps: By feature; none for a model that is a sum over blocks.
        empty_ms: The measured empty graph, taken off each block's own time; None without blocks.
        calib_count: Networks fitted on.
        test_count: Networks that `held_out` is over.
        held_out: Quality on networks that the prediction did not see; None where no whole network
            was ever measured, as with an imported table.
        held_out_by: How these were left out.
        lower_ratio: 5 % quantile of measured / predicted over these networks (of a prediction
            interval for new ones, where they are few); 1 where none were measured.
        upper_ratio: The 95 % quantile, likewise.
        baselines: Held-out quality of ``block_sum`` (nothing fitted) and ``macs`` (one factor
            fitted on the same networks), to see what the calibration gains.
        cross_validation: Quality of each model that was a candidate, on the networks fitted on,
            by cross-validation; what chose `model`.
    """

    model: str
    coefficients: dict[str, float]
    steps: dict[str, Steps] = {}
    empty_ms: float | None = None
    calib_count: int
    test_count: int
    held_out: Quality | None
    held_out_by: Literal["held-out networks", "cross-validation", "leave one model out"] = (
        "held-out networks")
    lower_ratio: float
    upper_ratio: float
    baselines: dict[str, Quality] = {}
    cross_validation: dict[str, Quality] = {}

    def stated_quality(self) -> Quality:
        """Returns `held_out`.

        Raises:
            ProfileError: No whole network was measured.
        """
        if self.held_out is None:
            raise ProfileError("this profile is a table whose sums were never compared with whole "
                               "networks, so there is no stated error to check")
        return self.held_out


class Validity(_Frozen):
    """Where the profile holds and how far it can be trusted; None: nothing was measured here.

    Attributes:
        input_shape: (C, H, W).
        ops: Operators of the vocabulary.
        extrapolated: In what the space lies outside the data that an estimate was fitted to, one
            line each.
        repeat_spearman: Of the whole networks: the statistic from every other pass against that
            from the rest, each half choosing its own agreeing passes.
        repeat_difference: Median of the relative difference of those halves.
        pass_spearman: The same of single passes, nothing left out: the median over all pairs of
            the protocol's first passes. It shows how restless the machine was.
        pass_difference: Median relative difference of single passes, median over the pairs.
        wall_over_cpu: Above 1.1 other processes took the core away.
        drift: Median over the models of the best of the later passes by the best of the earlier
            ones; above 1 the processor became slower meanwhile.
        clock_drift: The same of the processor's clock, where the system tells; below 1 it
            became slower.
        unstable: Entries and networks whose passes never agreed.
        warnings: What a reader should know, one line each.
        valid: False if the measurement did not repeat.
    """

    input_shape: Shape
    ops: tuple[str, ...]
    extrapolated: tuple[str, ...] = ()
    repeat_spearman: float | None = None
    repeat_difference: float | None = None
    pass_spearman: float | None = None
    pass_difference: float | None = None
    wall_over_cpu: float | None = None
    drift: float | None = None
    clock_drift: float | None = None
    unstable: int = 0
    warnings: tuple[str, ...] = ()
    valid: bool = True


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
        protocol: How a latency was taken; None for an estimate or an imported table.
        entries: Each block of the vocabulary, in its order; none if only networks were measured.
        subnets: Whole networks: those of the fit, then those held out.
        calibration: From blocks to networks, and how well that holds.
        validity: Where it holds, and what to doubt.
        provenance: Program, versions and seed.
        licence: Of this file.
        created: When.
    """

    schema_version: Literal[2] = 2
    id: str
    kind: Kind
    device: Device
    runtime: Runtime
    space: str
    generator: str
    protocol: MeasureProtocol | None
    entries: tuple[Entry, ...]
    subnets: tuple[Subnet, ...]
    calibration: Calibration
    validity: Validity
    provenance: dict[str, str]
    licence: str
    created: AwareDatetime

    @property
    def statistic(self) -> str:
        """What a latency is, such as ``"cpu_min_median"``; ``"published"`` if others took it."""
        return self.protocol.statistic if self.protocol else "published"

    @property
    def key(self) -> ProfileKey:
        """What the profile is good for."""
        return profile_key(self.device, self.runtime, space=self.space, generator=self.generator)
