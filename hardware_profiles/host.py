"""The profile of the machine that this program runs on."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hardware_profiles.assemble import assemble
from hardware_profiles.calibrate import MIN_NETS
from hardware_profiles.identity import ProfileKey, generator_hash, profile_key, slug
from hardware_profiles.measure import Measurement, Progress, measure, protocol_for, this_runtime
from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.plan import plan_profile
from hardware_profiles.profile import (
    Device,
    HardwareProfile,
    MeasureProtocol,
    Runtime,
)
from nas.core.blocks import Block, BlockGraph
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng, derive_seed
from nas.core.space import GeneSpace
from nas.core.types import IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class HostConfig:
    """What a profile of this machine takes.

    Attributes:
        threads: Of each inference.
        batch: Of each inference.
        calib_nets: Whole networks to fit on; the smallest and the largest are among them.
        test_nets: Random whole networks to check on.
        protocol: How each latency is taken; None: the default for this many threads.
    """

    threads: int = 1
    batch: int = 1
    calib_nets: int = 40
    test_nets: int = 60
    protocol: MeasureProtocol | None = None

    def __post_init__(self) -> None:
        if min(self.calib_nets, self.test_nets) < MIN_NETS:
            raise ProfileError(f"a profile needs at least {MIN_NETS} networks to fit on and as "
                               f"many held out, not {self.calib_nets} and {self.test_nets}")


def host_device() -> Device:
    """Returns what this machine says of itself."""
    cpu, cores = _cpu_model(), os.cpu_count() or 1
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Device(
        id=slug(f"host {cpu} {cores}c"), name=cpu, cpu=cpu, cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        os=platform.platform(),
        power_mode=governor.read_text().strip() if governor.is_file() else None)


def host_key(space: GeneSpace, vocabulary: Sequence[Block], *, threads: int = 1,
             batch: int = 1) -> ProfileKey:
    """Returns the key under which this machine's profile of a space is stored."""
    return profile_key(host_device(), this_runtime(threads=threads, batch=batch), space=space.id,
                       generator=generator_hash(space, vocabulary))


def profile_host(space: GeneSpace, vocabulary: Sequence[Block],
                 block_ids: Callable[[IntArray], IntArray], *, seed: int,
                 config: HostConfig | None = None,
                 progress: Progress | None = None) -> HardwareProfile:
    """Measures every block of a space and some whole networks, and calibrates.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        seed: Of the networks drawn, the weights and the order of measuring.
        config: How many networks, threads, passes.
        progress: Called with (measurements done, planned so far).

    Raises:
        ProfileError: The space has too few networks, or ONNX Runtime cannot run them.
    """
    config = config or HostConfig()
    runtime = this_runtime(threads=config.threads, batch=config.batch)
    protocol = config.protocol or protocol_for(runtime)
    plan = plan_profile(space, vocabulary, block_ids, calib_nets=config.calib_nets,
                        test_nets=config.test_nets, seed=seed)
    measured = measure_graphs(plan.graphs, runtime=runtime, protocol=protocol, seed=seed,
                              progress=progress)
    return assemble(space, vocabulary, plan, measured, device=host_device(), runtime=runtime,
                    protocol=protocol, seed=seed)


def measure_graphs(graphs: Mapping[str, BlockGraph], *, runtime: Runtime,
                   protocol: MeasureProtocol, seed: int,
                   progress: Progress | None = None) -> Measurement:
    """Times block graphs on this machine, by key; their weights are random.

    Raises:
        ProfileError: ONNX Runtime cannot run one of them.
    """
    models = {key: partial(_serialised, graph, runtime.batch, seed)
              for key, graph in graphs.items()}
    return measure(models, runtime=runtime, protocol=protocol, progress=progress,
                   rng=derive_rng(seed, "latency measurement"))


def _serialised(graph: BlockGraph, batch: int, seed: int) -> bytes:
    rng = np.random.default_rng(derive_seed(seed, "block weights"))
    return bytes(onnx_model(graph, batch=batch, rng=rng).SerializeToString())


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
