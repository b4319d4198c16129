"""The profile of the machine that this program runs on."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hardware_profiles.assemble import assemble
from hardware_profiles.budget import BUDGET_S, affordable, pilot_s
from hardware_profiles.calibrate import MIN_NETS
from hardware_profiles.clocks import temperature_c
from hardware_profiles.identity import ProfileKey, generator_hash, profile_key, slug
from hardware_profiles.journal import Journal
from hardware_profiles.measure import Measurement, Progress, measure, protocol_for, this_runtime
from hardware_profiles.memory import memory_probe
from hardware_profiles.models import graph_models
from hardware_profiles.plan import EMPTY, network_key, plan_profile
from hardware_profiles.precision import executed_ops, precision_remarks
from hardware_profiles.profile import (
    Device,
    HardwareProfile,
    MeasureProtocol,
    Precision,
    Runtime,
)
from hardware_profiles.session import CPU, Model
from nas.core.blocks import Block, BlockGraph
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class HostConfig:
    """What a profile of this machine takes.

    Attributes:
        threads: Of each inference.
        batch: Of each inference.
        precision: Of weights and activations.
        provider: ONNX Runtime's execution provider.
        calib_nets: Whole networks to fit on; the smallest and the largest are among them.
        test_nets: Random whole networks to check on.
        protocol: How each latency is taken; None: the default for this many threads, with fewer
            runs and passes where the networks are slow.
        budget_s: Seconds that the default protocol's planned passes may take, where `MIN_RUNS` and
            `MIN_PASSES` of `hardware_profiles.budget` allow it.
        memory: Whether the peak memory of the whole networks is measured too, where it can be.
    """

    threads: int = 1
    batch: int = 1
    precision: Precision = "fp32"
    provider: str = CPU
    calib_nets: int = 40
    test_nets: int = 60
    protocol: MeasureProtocol | None = None
    budget_s: float = BUDGET_S
    memory: bool = True

    def __post_init__(self) -> None:
        if min(self.calib_nets, self.test_nets) < MIN_NETS:
            raise ProfileError(f"a profile needs at least {MIN_NETS} networks to fit on and as "
                               f"many held out, not {self.calib_nets} and {self.test_nets}")

    def fewer_of(self, space: GeneSpace) -> "HostConfig":
        """Returns this with fewer networks where a space has few, and as much less time.

        They are a third of the space then, in the same proportion: the others have so few
        choices that differ from theirs that measuring them, too, tells little more.
        """
        asked = self.calib_nets + self.test_nets
        count = min(asked, max(2 * MIN_NETS, space.size // 3))
        calib = max(MIN_NETS, self.calib_nets * count // asked)
        return replace(self, calib_nets=calib, test_nets=count - calib,
                       budget_s=self.budget_s * count / asked)

    @property
    def runtime(self) -> Runtime:
        """The ONNX Runtime that is installed, as this configuration asks for it."""
        return this_runtime(threads=self.threads, batch=self.batch, precision=self.precision,
                            provider=self.provider)


def host_device() -> Device:
    """Returns what this machine says of itself."""
    cpu, cores = _cpu_model(), os.cpu_count() or 1
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Device(
        id=slug(f"host {cpu} {cores}c"), name=cpu, cpu=cpu, cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        os=platform.platform(),
        power_mode=governor.read_text().strip() if governor.is_file() else None)


def host_key(space: GeneSpace, vocabulary: Sequence[Block], *, threads: int = 1, batch: int = 1,
             precision: Precision = "fp32", provider: str = CPU) -> ProfileKey:
    """Returns the key under which this machine's profile of a space is stored."""
    runtime = this_runtime(threads=threads, batch=batch, precision=precision, provider=provider)
    return profile_key(host_device(), runtime, space=space.id,
                       generator=generator_hash(space, vocabulary))


def profile_host(space: GeneSpace, vocabulary: Sequence[Block],
                 block_ids: Callable[[IntArray], IntArray], *, seed: int,
                 config: HostConfig | None = None, progress: Progress | None = None,
                 journal: Journal | None = None) -> HardwareProfile:
    """Measures every block of a space and some whole networks, and calibrates.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        seed: Of the networks drawn, the weights and the order of measuring.
        config: How many networks, threads, passes.
        progress: Called with (measurements done, planned so far).
        journal: Of the passes of this very measurement, to go on with and to write to.

    Raises:
        ProfileError: The space has too few networks, or ONNX Runtime cannot run them.
    """
    config = config or HostConfig()
    runtime = config.runtime
    plan = plan_profile(space, vocabulary, block_ids, calib_nets=config.calib_nets,
                        test_nets=config.test_nets, seed=seed)
    models = graph_models(plan.graphs, runtime=runtime, seed=seed)
    protocol = _protocol(config, models, journal, seed)
    measured = measure(models, runtime=runtime, protocol=protocol, progress=progress,
                       rng=derive_rng(seed, "latency measurement"), journal=journal)
    networks = [network_key(row) for row in range(len(plan.codes))]
    if config.memory:
        measured = _with_memory(measured, models, networks, runtime)
    ops = executed_ops(Model(networks[1], models[networks[1]]()), runtime)  # of the largest
    device = host_device().model_copy(update={
        "clock_mhz": float(np.median(measured.clock_mhz)) if measured.clock_mhz else None,
        "temperature_c": temperature_c()})
    return assemble(space, vocabulary, plan, measured, device=device, runtime=runtime,
                    protocol=protocol, seed=seed, remarks=precision_remarks(ops, runtime))


def measure_graphs(graphs: Mapping[str, BlockGraph], *, runtime: Runtime,
                   protocol: MeasureProtocol, seed: int,
                   progress: Progress | None = None) -> Measurement:
    """Times block graphs on this machine, by key; their weights are random.

    Raises:
        ProfileError: ONNX Runtime cannot run one of them.
    """
    return measure(graph_models(graphs, runtime=runtime, seed=seed), runtime=runtime,
                   protocol=protocol, progress=progress,
                   rng=derive_rng(seed, "latency measurement"))


def _with_memory(measured: Measurement, models: Mapping[str, Callable[[], bytes]],
                 keys: Sequence[str], runtime: Runtime) -> Measurement:
    timings = dict(measured.timings)
    with memory_probe(runtime, models[EMPTY]()) as probe:
        if probe is None:
            return measured
        for key in keys:
            timings[key] = timings[key].model_copy(
                update={"peak_bytes": probe.peak_bytes(models[key]())})
    return replace(measured, timings=timings)


def _protocol(config: HostConfig, models: Mapping[str, Callable[[], bytes]],
              journal: Journal | None, seed: int) -> MeasureProtocol:
    # What a stopped measurement chose counts for its rest.
    if journal is not None and journal.protocol is not None:
        return journal.protocol
    protocol = config.protocol
    if protocol is None:
        run_s = pilot_s(models, config.runtime, derive_rng(seed, "pilot"))
        protocol = affordable(protocol_for(config.runtime), run_s=run_s,
                              budget_s=config.budget_s)
    if journal is not None:
        journal.begin(protocol)
    return protocol


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
