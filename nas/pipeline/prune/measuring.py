"""Latency of whole networks on this machine, taken side by side."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hardware_profiles.host import measure_graphs
from hardware_profiles.measure import measure, protocol_for, this_runtime
from hardware_profiles.profile import Timing
from nas.core.blocks import BlockGraph
from nas.core.protocols import Task
from nas.core.rng import derive_rng
from nas.export.onnx import export_onnx


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One network's latency.

    Attributes:
        latency_ms: Median, over the passes that agree, of each one's fastest run.
        lowest_ms: Of the fastest pass.
        highest_ms: Of the slowest pass that agrees with it, or of all where too few agree.
        stable: Whether enough passes agree.
    """

    latency_ms: float
    lowest_ms: float
    highest_ms: float
    stable: bool

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return asdict(self)

    @property
    def spread(self) -> float:
        """How far the passes lie apart, as a share of the fastest."""
        return self.highest_ms / self.lowest_ms - 1.0


def measure_files(files: Mapping[str, Path], *, threads: int, seed: int) -> dict[str, Measured]:
    """Returns the latencies of ONNX files, measured in turns.

    Raises:
        ProfileError: ONNX Runtime cannot run one of them.
        OSError: A file cannot be read.
    """
    return _measured({name: path.read_bytes for name, path in files.items()}, threads=threads,
                     seed=seed)


def measure_networks(networks: Mapping[str, nn.Module], task: Task, *, threads: int, seed: int,
                     beside: Mapping[str, Path] | None = None) -> dict[str, Measured]:
    """Returns the latencies of networks in evaluation mode, measured in turns.

    Args:
        networks: By name.
        task: Of all of them.
        threads: Of each inference.
        seed: Of the orders and the inputs.
        beside: ONNX files that are measured with them, by other names.

    Raises:
        ExportError: A network that has no ONNX form.
        ProfileError: ONNX Runtime cannot run one of them.
        OSError: A file cannot be read.
    """
    example = task.example_inputs(2, derive_rng(0, "export")).cpu()
    with tempfile.TemporaryDirectory() as folder:
        files = dict(beside or {})
        for name, network in networks.items():
            files[name] = Path(folder) / f"{len(files)}.onnx"
            export_onnx(network.cpu(), example, files[name], metadata={})
        return measure_files(files, threads=threads, seed=seed)


def measure_blocks(graphs: Mapping[str, BlockGraph], *, threads: int, seed: int
                   ) -> dict[str, float]:
    """Returns the latency of each block by itself, in ms; their weights are random.

    Raises:
        ProfileError: ONNX Runtime cannot run one of them.
    """
    runtime = this_runtime(threads=threads)
    found = measure_graphs(graphs, runtime=runtime, protocol=protocol_for(runtime), seed=seed)
    return {key: timing.latency_ms for key, timing in found.timings.items()}


def _measured(models: Mapping[str, Callable[[], bytes]], *, threads: int, seed: int
              ) -> dict[str, Measured]:
    runtime = this_runtime(threads=threads)
    protocol = protocol_for(runtime)
    found = measure(models, runtime=runtime, protocol=protocol,
                    rng=derive_rng(seed, "prune latency"))
    return {name: _of(timing, protocol.tolerance) for name, timing in found.timings.items()}


def _of(timing: Timing, tolerance: float) -> Measured:
    lowest = min(timing.pass_ms)
    agreeing = [ms for ms in timing.pass_ms if ms <= (1.0 + tolerance) * lowest]
    return Measured(latency_ms=timing.latency_ms, lowest_ms=lowest, stable=timing.stable,
                    highest_ms=max(agreeing if timing.stable else timing.pass_ms))
