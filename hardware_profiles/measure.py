"""Latency of ONNX models on this machine, through ONNX Runtime.

The value is the CPU time of the calling thread: on a shared machine wall-clock time says more about
the neighbours than about the network. With more threads, each on a core of its own, the calling
thread spins while it waits for the others, so that its time is the latency too.

What neighbours still do to it (shared caches, the other hyperthread) comes and goes over seconds,
hence several passes over all models in random order, of which enough must agree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from hardware_profiles.journal import Journal
from hardware_profiles.memory import resident_bytes
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.precision import at_batch, in_precision, parsed, sized
from hardware_profiles.profile import MeasureProtocol, Precision, Runtime, Timing
from hardware_profiles.session import CPU, Model, TimedSession
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

Progress = Callable[[int, int], None]  # (measurements done, measurements planned so far)

CONTENDED = 1.1  # wall / CPU above this: other processes took the core away
_ON_THE_CPU = (CPU, "XnnpackExecutionProvider", "DnnlExecutionProvider")
# While the process has grown by less, sessions stay open; the rest open every pass.
KEPT_SESSION_BYTES = 3 * 2**28


@dataclass(frozen=True, slots=True)
class Measurement:
    """Many models' timings.

    Attributes:
        timings: By key.
        wall_over_cpu: How much longer the wall clock ran than the CPU's; with more than one
            thread, how much longer they took with the time that they waited for a core.
        clock_mhz: The processor's median clock in each pass, where the system tells.
    """

    timings: Mapping[str, Timing]
    wall_over_cpu: float
    clock_mhz: tuple[float, ...] = ()


def this_runtime(*, threads: int = 1, batch: int = 1, precision: Precision = "fp32",
                 provider: str = CPU) -> Runtime:
    """Returns the ONNX Runtime that is installed, as it is to run networks."""
    return Runtime(version=str(ort.__version__), provider=provider, threads=threads, batch=batch,
                   precision=precision)


def protocol_for(runtime: Runtime) -> MeasureProtocol:
    """Returns the default protocol; the wall clock where another device does the work."""
    if runtime.provider not in _ON_THE_CPU:
        return MeasureProtocol(timer="wall", statistic="wall_min_median")
    return MeasureProtocol()


def measure(models: Mapping[str, Callable[[], bytes]], *, runtime: Runtime,
            protocol: MeasureProtocol, rng: np.random.Generator,
            progress: Progress | None = None, journal: Journal | None = None) -> Measurement:
    """Times many models in shuffled passes.

    After `protocol.passes` passes over all models, those whose passes disagree are measured
    again until enough agree, up to `protocol.max_passes`; what never agrees is marked unstable.

    Args:
        models: Key → a function that returns the serialised ONNX model, the same at each call.
        runtime: What runs them.
        protocol: Warm-up, runs, passes, timer.
        rng: For the orders and the inputs.
        progress: Called after each model of each pass.
        journal: Holds the passes of a measurement that was stopped, and gets the new ones.

    Raises:
        ProfileError: The runtime falls back to another execution provider, or cannot run a model.
    """
    bench = _Bench(models, runtime, protocol, rng)
    earlier = journal.passes if journal is not None else {}
    times = {key: list(earlier.get(key, ())) for key in models}
    done = sum(map(len, times.values()))
    for number in range(protocol.max_passes):
        pending = [key for key, taken in times.items() if len(taken) <= number
                   and not (number >= protocol.passes and _agree(taken, protocol))]
        total = max(len(models) * protocol.passes, done + len(pending))
        for index in rng.permutation(len(pending)):
            key = pending[index]
            times[key].append(bench.run(key))
            if journal is not None:
                journal.add(key, times[key][-1])
            done += 1
            if progress is not None:
                progress(done, total)
    return _measurement(times, protocol)


def measure_file(path: Path, runtime: Runtime, *, seed: int = 0,
                 sizes: Mapping[str, int] | None = None) -> Timing:
    """Times one fp32 ONNX file as the runtime runs it.

    A dynamic first axis of its inputs is set to the runtime's batch; another precision is made of
    it as `hardware_profiles.precision` does for a profile.

    Args:
        path: Of the file.
        runtime: What runs it.
        seed: Of the inputs.
        sizes: Those of other dynamic axes, by name.

    Raises:
        ProfileError: The file is missing, no ONNX model, or ONNX Runtime cannot run it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProfileError(f"ONNX file {path} cannot be read ({error.strerror})") from None
    rng = np.random.default_rng(seed)
    if sizes:
        data = sized(parsed(Model(str(path), data)), sizes).SerializeToString()
    if runtime.precision != "fp32":
        model = at_batch(parsed(Model(str(path), data)), runtime.batch)
        data = in_precision(model, runtime.precision, rng).SerializeToString()
    return measure({str(path): lambda: data}, runtime=runtime, protocol=protocol_for(runtime),
                   rng=rng).timings[str(path)]


def summarise(passes: list[PassTimes], protocol: MeasureProtocol) -> Timing:
    """Returns the timing of one model from all of its passes."""
    minima = pass_minima_ms(passes)
    agreeing = minima[agreeing_passes(minima, protocol.tolerance)]
    wall_ms = np.concatenate([one.wall_ns for one in passes]) / 1e6
    return Timing(
        latency_ms=float(np.median(agreeing)), cpu_min_ms=float(minima.min()),
        wall_min_ms=float(wall_ms.min()), wall_median_ms=float(np.median(wall_ms)),
        wall_p95_ms=float(np.quantile(wall_ms, 0.95)), pass_ms=tuple(minima.tolist()),
        agreeing=len(agreeing), stable=len(agreeing) >= protocol.passes, runs=len(wall_ms))


def pass_minima_ms(passes: list[PassTimes]) -> FloatArray:
    """Returns the fastest run of each pass in CPU time, (passes,).

    The kernel's CPU clock now and then loses part of a run: 3.9 µs where every other run takes
    10.2 µs, while the wall clock sees nothing. A run whose wall/CPU ratio is more than 5 % above
    the pass's median ratio is therefore left out.
    """
    minima = []
    for one in passes:
        ratio = one.wall_ns / np.maximum(one.cpu_ns, 1)
        minima.append(one.cpu_ns[ratio <= 1.05 * np.median(ratio)].min() / 1e6)
    return np.array(minima)


def agreeing_passes(minima: FloatArray, tolerance: float) -> IntArray:
    """Returns the indices of the passes within the tolerance of the fastest.

    Contention only ever adds time, so it is the fastest pass that the others must confirm.
    """
    return np.flatnonzero(minima <= (1.0 + tolerance) * minima.min())


def _measurement(times: Mapping[str, list[PassTimes]], protocol: MeasureProtocol) -> Measurement:
    every = [run for runs in times.values() for run in runs]
    ratio = sum(run.loop_wall_ns for run in every) / sum(run.loop_cpu_ns for run in every)
    rounds = ([runs[number].clock_mhz for runs in times.values()]
              for number in range(protocol.passes))
    clocks = [[clock for clock in one if clock is not None] for one in rounds]
    return Measurement({key: summarise(runs, protocol) for key, runs in times.items()}, ratio,
                       tuple(float(np.median(one)) for one in clocks if one))


def _agree(passes: list[PassTimes], protocol: MeasureProtocol) -> bool:
    return len(agreeing_passes(pass_minima_ms(passes), protocol.tolerance)) >= protocol.passes


@dataclass(slots=True)
class _Bench:
    models: Mapping[str, Callable[[], bytes]]
    runtime: Runtime
    protocol: MeasureProtocol
    rng: np.random.Generator
    kept: dict[str, TimedSession] = field(default_factory=dict)
    kept_models: int = 0  # bytes of what the kept sessions were opened from
    before: int = field(default_factory=resident_bytes)

    def run(self, key: str) -> PassTimes:
        session = self.kept.get(key)
        if session is None:
            model = Model(key, self.models[key]())
            session = TimedSession(model, runtime=self.runtime, rng=self.rng)
            # Of all sessions together: one alone takes memory that its model's making gave back,
            # so that the process grows by less than it holds. Where the system does not tell, it
            # is no less than the models.
            taken = max(self.kept_models + len(model.data), resident_bytes() - self.before)
            # A kept session's threads would go on spinning, on the cores of the next one's.
            if self.runtime.threads == 1 and taken <= KEPT_SESSION_BYTES:
                self.kept[key] = session
                self.kept_models += len(model.data)
        return session.time(self.protocol)
