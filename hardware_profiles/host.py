"""The profile of the machine that this program runs on."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from hardware_profiles.calibrate import MIN_NETS, calibrate
from hardware_profiles.measure import Measurement, Progress, measure, protocol_for, this_runtime
from hardware_profiles.onnx_blocks import empty_graph, onnx_model
from hardware_profiles.profile import (
    Device,
    Entry,
    HardwareProfile,
    MeasureProtocol,
    ProfileKey,
    Runtime,
    Subnet,
    generator_hash,
    profile_key,
    slug,
)
from hardware_profiles.validity import assess
from nas.core.blocks import Block, BlockGraph, chain
from nas.core.costs import macs
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng, derive_seed
from nas.core.space import GeneSpace
from nas.core.types import IntArray

_EMPTY = "empty graph"
_MAX_DRAWS = 100  # batches of random networks before a space is found too small


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
    codes = _draw_networks(space, config.calib_nets + config.test_nets, seed)
    ids = block_ids(codes)
    graphs = {_EMPTY: empty_graph((8,)), **{block.key: block.graph for block in vocabulary}}
    graphs |= {_net(row): chain([vocabulary[i] for i in slots if i >= 0])
               for row, slots in enumerate(ids)}
    measured = measure_graphs(graphs, runtime=runtime, protocol=protocol, seed=seed,
                              progress=progress)
    return _assemble(space, vocabulary, codes, ids, measured, runtime=runtime, protocol=protocol,
                     calib_nets=config.calib_nets, seed=seed)


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


def _assemble(space: GeneSpace, vocabulary: Sequence[Block], codes: IntArray, ids: IntArray,
              measured: Measurement, *, runtime: Runtime, protocol: MeasureProtocol,
              calib_nets: int, seed: int) -> HardwareProfile:
    timings = measured.timings
    nets = [timings[_net(row)] for row in range(len(codes))]
    net_ms = np.array([timing.latency_ms for timing in nets])
    calibration = calibrate(
        block_ms=np.array([timings[block.key].latency_ms for block in vocabulary]),
        block_macs=np.array([macs(block.graph) for block in vocabulary], dtype=np.float64),
        empty_ms=timings[_EMPTY].latency_ms, calib=(ids[:calib_nets], net_ms[:calib_nets]),
        test=(ids[calib_nets:], net_ms[calib_nets:]))
    device, generator = host_device(), generator_hash(space, vocabulary)
    key = profile_key(device, runtime, space=space.id, generator=generator)
    return HardwareProfile(
        id=key.file_name.removesuffix(".json"), kind="measured", device=device, runtime=runtime,
        space=space.id, generator=generator, protocol=protocol,
        entries=tuple(Entry(key=block.key, timing=timings[block.key]) for block in vocabulary),
        subnets=tuple(
            Subnet(digest=arch.digest, codes=tuple(code), timing=timing,
                   split="calib" if row < calib_nets else "test")
            for row, (arch, code, timing) in enumerate(
                zip(space.decode(codes), codes.tolist(), nets, strict=True))),
        calibration=calibration, provenance=_provenance(seed), licence="CC0-1.0",
        validity=assess(vocabulary, nets, measured, protocol=protocol, calibration=calibration),
        created=datetime.now(UTC))


def _draw_networks(space: GeneSpace, count: int, seed: int) -> IntArray:
    # The smallest and the largest first, so that the fit spans the space; then random ones.
    rng = derive_rng(seed, "calibration networks")
    found = {tuple(row): None for row in space.encode(
        [space.extreme(largest=False), space.extreme(largest=True)]).tolist()}
    for _ in range(_MAX_DRAWS):
        if len(found) >= count:
            return np.array(list(found)[:count], dtype=np.int16)
        found |= dict.fromkeys(map(tuple, space.sample_codes(count, rng).tolist()))
    raise ProfileError(f"space {space.id} has too few networks to profile: {len(found)} found, "
                       f"{count} needed; ask for fewer (at least {2 * MIN_NETS})")


def _serialised(graph: BlockGraph, batch: int, seed: int) -> bytes:
    rng = np.random.default_rng(derive_seed(seed, "block weights"))
    return bytes(onnx_model(graph, batch=batch, rng=rng).SerializeToString())


def _net(row: int) -> str:
    return f"network {row}"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _provenance(seed: int) -> dict[str, str]:
    try:
        own = version("nas-service")
    except PackageNotFoundError:  # run from a source tree that is not installed
        own = "source tree"
    return {"program": "nas-service", "program_version": own, "python": platform.python_version(),
            "seed": str(seed)}
