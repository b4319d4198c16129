"""One ONNX Runtime session set up as in deployment, and a loop that times it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hardware_profiles.clocks import clock_mhz
from hardware_profiles.cores import on_core, own_cores
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.profile import MeasureProtocol, Runtime
from nas.core.errors import ProfileError

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
           "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}
_TIMERS = {"thread_cpu": time.thread_time_ns, "wall": time.perf_counter_ns}
CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Model:
    """A serialised ONNX model and the name that errors give it."""

    key: str
    data: bytes


class TimedSession:
    """A loaded model with its inputs and outputs bound to memory that is there before a run.

    Raises:
        ProfileError: The execution provider is not there or does not take the whole model, or
            the model cannot be loaded or run.
    """

    def __init__(self, model: Model, *, runtime: Runtime, rng: np.random.Generator) -> None:
        self._cores = own_cores(runtime.threads) if runtime.provider == CPU else ()
        self._session = open_session(model, runtime)
        self._binding = self._session.io_binding()
        self._bound: list[ort.OrtValue] = []  # a binding does not keep its inputs alive
        for source in self._session.get_inputs():
            value = ort.OrtValue.ortvalue_from_numpy(_random_input(source, model, runtime, rng))
            self._binding.bind_ortvalue_input(source.name, value)
            self._bound.append(value)
        names = [output.name for output in self._session.get_outputs()]
        for name in names:
            self._binding.bind_output(name)
        try:
            self._session.run_with_iobinding(self._binding)  # tells the shapes of the outputs
        except Exception as error:
            raise ProfileError(f"ONNX Runtime cannot run {model.key}: {_line(error)}") from None
        for name, value in zip(names, self._binding.get_outputs(), strict=True):
            self._binding.bind_ortvalue_output(name, value)
            self._bound.append(value)

    def time(self, protocol: MeasureProtocol) -> PassTimes:
        """Returns the times of one pass: the warm-up, then the timed runs."""
        with on_core(self._cores[0] if self._cores else None):
            return self._timed(protocol)

    def _timed(self, protocol: MeasureProtocol) -> PassTimes:
        cpu = _TIMERS[protocol.timer]
        wall = time.perf_counter_ns
        run, binding = self._session.run_with_iobinding, self._binding
        for _ in range(protocol.warm_up):
            run(binding)
        cpu_ns, wall_ns = np.empty((2, protocol.runs), dtype=np.int64)
        waited = _waited_ns() if self._cores else 0
        loop_wall, loop_cpu = wall(), cpu()
        for index in range(protocol.runs):
            wall_start, cpu_start = wall(), cpu()
            run(binding)
            cpu_end, wall_end = cpu(), wall()
            cpu_ns[index], wall_ns[index] = cpu_end - cpu_start, wall_end - wall_start
        loop_cpu, loop_wall = cpu() - loop_cpu, wall() - loop_wall
        if self._cores:
            loop_wall = loop_cpu + _waited_ns() - waited
        return PassTimes(cpu_ns, wall_ns, loop_cpu, loop_wall, clock_mhz())


def open_session(model: Model, runtime: Runtime, *,
                 options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Returns a session as a deployment would open it, on the runtime's provider alone.

    Raises:
        ProfileError: The provider is not installed, or would hand work to the CPU silently; or
            the model cannot be loaded.
    """
    require_provider(runtime.provider)
    options = options or ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = runtime.threads
    options.log_severity_level = 3
    workers = own_cores(runtime.threads)[1:] if runtime.provider == CPU else ()
    if workers:  # counted from 1; the calling thread is not among them
        options.add_session_config_entry("session.intra_op_thread_affinities",
                                         ";".join(str(core + 1) for core in workers))
    if runtime.provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(model.data, options,
                                       providers=[(runtime.provider, runtime.provider_options)])
    except Exception as error:  # the runtime's own exceptions share no base class but this
        raise ProfileError(f"ONNX Runtime cannot load {model.key}: {_line(error)}") from None
    if session.get_providers()[0] != runtime.provider:
        raise ProfileError(f"{model.key}: ONNX Runtime fell back from {runtime.provider} to "
                           f"{session.get_providers()[0]}; its drivers or libraries are missing")
    return session


def provider_name(text: str) -> str:
    """Returns ONNX Runtime's name of an execution provider given so or in short, such as "cuda".

    Raises:
        ProfileError: ONNX Runtime knows none of that name.
    """
    every: list[str] = ort.get_all_providers()
    known = {name.removesuffix("ExecutionProvider").lower(): name for name in every}
    found = known.get(text.lower().removesuffix("executionprovider"))
    if found is None:
        raise ProfileError(f"ONNX Runtime knows no execution provider {text!r}; known: "
                           f"{', '.join(sorted(known))}")
    return found


def require_provider(provider: str) -> None:
    """Checks that an execution provider is installed.

    Raises:
        ProfileError: It is not.
    """
    if provider not in ort.get_available_providers():
        raise ProfileError(f"this ONNX Runtime has no {provider}, only "
                           f"{', '.join(ort.get_available_providers())}; install its package")


def _waited_ns() -> int:
    # Time that this process's threads were ready to run and did not, where the system tells.
    waited = 0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            waited += int(task.read_text().split()[1])
    return waited


def _random_input(source: ort.NodeArg, model: Model, runtime: Runtime,
                  rng: np.random.Generator) -> NDArray[np.generic]:
    if source.type not in _DTYPES:
        raise ProfileError(f"{model.key}: input {source.name} has type {source.type}; known: "
                           f"{', '.join(_DTYPES)}")
    first, *rest = source.shape or [1]
    shape = [first if isinstance(first, int) else runtime.batch, *rest]
    if not all(isinstance(size, int) for size in shape):
        raise ProfileError(f"{model.key}: input {source.name} has the dynamic shape "
                           f"{source.shape}; only its first axis may be dynamic")
    dtype = np.dtype(_DTYPES[source.type])
    if dtype.kind == "f":
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    return np.zeros(shape, dtype)  # an index: zero is in every table


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
