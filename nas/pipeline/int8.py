"""The int8 file of a bundle: quantised, measured beside the fp32 one, tested."""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from hardware_profiles.host import host_device
from hardware_profiles.measure import measure, protocol_for, this_runtime
from hardware_profiles.precision import executed_ops, parsed, precision_remarks, quantised, sized
from hardware_profiles.session import Model
from nas.core.errors import ExportError
from nas.core.protocols import Task
from nas.export.int8 import add_int8, with_metadata_of
from nas.export.manifest import INT8, ONNX, Int8Entry
from nas.export.opened import OpenedBundle
from nas.pipeline.calibration import Calibration, calibration_inputs
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import one_thread
from nas.pipeline.events import Event, Watcher
from nas.pipeline.latency_note import free_sizes


def quantise(bundle: OpenedBundle, task: Task, config: SearchConfig, *,
             calibration: Path | None, watch: Watcher) -> Int8Entry:
    """Adds an int8 file to a bundle, in place of an older one, and returns what it is.

    Args:
        bundle: Whose network it is to be.
        task: Of the network.
        config: Of the search: threads and batch that latency is measured at.
        calibration: See `nas.pipeline.calibration`.
        watch: Is told of each step.

    Raises:
        DataError: Images to calibrate with that are missing or do not fit.
        ExportError: A network that cannot be quantised, or the disk refuses.
    """
    inputs = calibration_inputs(task, calibration)
    watch(Event("int8", 0, 3, f"calibrating with {inputs.described}"))
    model = _quantised(bundle, inputs)
    operators = Counter(executed_ops(Model(INT8, model), this_runtime()))
    if precision_remarks(list(operators), this_runtime(precision="int8")):
        raise ExportError(f"nothing in this network can be computed in int8: ONNX Runtime has an "
                          f"integer form of none of {', '.join(sorted(operators))}; the fp32 "
                          "file stands")
    watch(Event("int8", 1, 3, "measuring both files"))
    runtime = this_runtime(threads=config.threads, batch=config.batch or 1)
    timed = {name: _timed(name, data, task) for name, data in
             ((ONNX, bundle.files[ONNX]), (INT8, model))}
    measured = measure({name: partial(bytes, data) for name, data in timed.items()},
                       runtime=runtime, protocol=protocol_for(runtime),
                       rng=np.random.default_rng(0))
    unstable = [name for name, timing in measured.timings.items() if not timing.stable]
    statistic = protocol_for(runtime).statistic
    latency = (f"{statistic} on {host_device().id}, {runtime.threads} thread(s), batch "
               f"{runtime.batch}{'; unstable: ' + ', '.join(unstable) if unstable else ''}")
    watch(Event("int8", 2, 3, "testing both files"))
    with one_thread():
        manifest = add_int8(
            bundle, model, task=task, calibration=inputs.described, operators=operators,
            latency_ms={name: timing.latency_ms for name, timing in measured.timings.items()},
            latency=latency)
    watch(Event("int8", 3, 3))
    assert manifest.int8 is not None
    return manifest.int8


def _timed(name: str, model: bytes, task: Task) -> bytes:
    # At the sizes that costs are counted on, where more axes than the batch's are free.
    sizes = free_sizes(task)
    return sized(parsed(Model(name, model)), sizes).SerializeToString() if sizes else model


def remark(entry: Int8Entry) -> str:
    """Returns in one line whether int8 pays on the machine that exported."""
    before, after = entry.latency_ms[ONNX], entry.latency_ms[INT8]
    if after < before:
        return f"int8 takes {after / before:.2f} of the fp32 time on this machine"
    return (f"int8 is no gain on this machine: it takes {after / before:.2f} times as long as "
            "fp32; measure it where it is to run")


def _quantised(bundle: OpenedBundle, inputs: Calibration) -> bytes:
    source = parsed(Model(ONNX, bundle.files[ONNX]))
    name = source.graph.input[0].name
    try:
        made = quantised(source, ({name: batch} for batch in inputs.batches()))
    except Exception as error:  # the library raises whatever an unknown operator leads to
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ExportError(f"ONNX Runtime cannot quantise this network ({reason}); the fp32 file "
                          "stands") from None
    return with_metadata_of(source, made)
