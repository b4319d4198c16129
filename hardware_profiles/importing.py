"""From an agent's result to a profile: every claim is checked against the bundle that was sent."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from hardware_profiles.agent_result import (
    RUN_AGAIN,
    AgentResult,
    Machine,
    ModelRecord,
    PassRecord,
    Setup,
    State,
)
from hardware_profiles.assemble import assemble
from hardware_profiles.bundle_manifest import BundleManifest
from hardware_profiles.few_shot import assemble_few_shot
from hardware_profiles.identity import generator_hash
from hardware_profiles.measure import Measurement, pass_minima_ms, summarise
from hardware_profiles.plan import EMPTY, network_key, plan_of
from hardware_profiles.profile import (
    Device,
    HardwareProfile,
    MeasureProtocol,
    Runtime,
    Timing,
)
from nas.core.blocks import Block
from nas.core.errors import ProfileError
from nas.core.space import GeneSpace
from nas.core.types import IntArray


def import_result(result: AgentResult, manifest: BundleManifest, space: GeneSpace,
                  vocabulary: Sequence[Block],
                  block_ids: Callable[[IntArray], IntArray], *,
                  prior: HardwareProfile | None = None) -> HardwareProfile:
    """Returns the profile that a device's measurement of a bundle makes.

    Args:
        result: What the agent measured.
        manifest: Of the bundle.
        space: The space of the bundle.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        prior: Where only whole networks were measured: a measured profile of the same space, of
            whatever device, whose blocks may help the fit.

    Raises:
        ArchError: The bundle's networks are none of the space.
        ProfileError: The result is of another bundle, or of other models or conditions than the
            bundle's, or lacks models; the space has changed since; or the fit makes no sense.
    """
    if result.bundle != manifest.id:
        raise ProfileError(f"the result is of bundle {result.bundle}, not of {manifest.id}; give "
                           "the bundle that was measured, or measure this one")
    require_same_space(manifest, space, vocabulary)
    require_same_setup(result.setup, result.machine, manifest)
    require_same_models(result.models, manifest)
    protocol = manifest.protocol.model_copy(update={
        **result.setup.protocol.model_dump(), "timer": result.setup.timer,
        "statistic": "wall_min_median" if result.setup.timer == "wall" else "cpu_min_median"})
    require_whole_passes(result.models, protocol)
    make = assemble if EMPTY in result.models else partial(
        assemble_few_shot, block_ids=block_ids, prior=prior)
    timings = {key: timing_of(record, protocol) for key, record in result.models.items()}
    codes = np.array(manifest.codes, dtype=np.int16)
    space.decode(codes)  # rejects what is outside the space
    plan = plan_of(codes, vocabulary, block_ids, calib_nets=manifest.calib_nets)
    profile = make(
        space, vocabulary, plan=plan, protocol=protocol,
        measured=Measurement(timings, wall_over_cpu(result), _clocks(result)),
        device=device_of(result, manifest.device),
        runtime=runtime_of(result.setup), seed=manifest.seed)
    validity = profile.validity.model_copy(update={
        "warnings": (*profile.validity.warnings, *changes(result)),
        # One clock only was read: it says nothing of the neighbours.
        **({"wall_over_cpu": None} if protocol.timer == "wall" else {})})
    return profile.model_copy(update={
        "validity": validity, "provenance": {**profile.provenance, **_provenance(result)}})


def require_same_space(manifest: BundleManifest, space: GeneSpace,
                       vocabulary: Sequence[Block]) -> None:
    """Checks that a bundle is of this space as it is now.

    Raises:
        ProfileError: It is of another space, or the space's genes or blocks have changed.
    """
    generator = generator_hash(space, vocabulary)
    if manifest.space != space.id:
        raise ProfileError(f"bundle {manifest.id} is of space {manifest.space}, not {space.id}; "
                           "give its supernet with --supernet")
    if {len(row) for row in manifest.codes} != {len(space.genes)}:
        raise ProfileError(f"bundle {manifest.id} holds networks of another space than {space.id}; "
                           "export it again and measure anew")
    if manifest.generator != generator:
        raise ProfileError(f"bundle {manifest.id} was made for another version of space "
                           f"{space.id} (generator {manifest.generator}, now {generator}); export "
                           "it again and measure anew")


def require_same_setup(setup: Setup, machine: Machine, manifest: BundleManifest) -> None:
    """Checks that the models were run as the bundle asks.

    Raises:
        ProfileError: With other threads, batch or precision, or by two versions of the runtime.
    """
    for name in ("threads", "batch", "precision"):
        asked, found = getattr(manifest.runtime, name), getattr(setup, name)
        if asked != found:
            raise ProfileError(f"the result was measured with {name} {found}, the bundle is for "
                               f"{asked}; export a bundle with --{name} {found}, or {RUN_AGAIN}")
    if setup.version != machine.onnxruntime:
        raise ProfileError(f"the result claims ONNX Runtime {setup.version} and was written with "
                           f"{machine.onnxruntime}; delete it and {RUN_AGAIN}")


def require_same_models(found: Mapping[str, ModelRecord], manifest: BundleManifest) -> None:
    """Checks that exactly the bundle's models were measured; all of them, or all networks.

    Raises:
        ProfileError: Models are missing, unknown or changed.
    """
    expected = set(manifest.models)
    if EMPTY not in found:
        expected = {network_key(row) for row in range(len(manifest.codes))}
    for names, what in ((expected - set(found), "lacks"), (set(found) - expected, "also holds")):
        if names:
            raise ProfileError(f"the result {what} {len(names)} of {len(expected)} models, such as "
                               f"{min(names)!r}; {RUN_AGAIN}")
    for key, record in found.items():
        if record.sha256 != manifest.models[key].sha256:
            raise ProfileError(f"{key!r} was measured with another file than the bundle's (its "
                               f"hash differs); copy the bundle to the device again and "
                               f"{RUN_AGAIN}")


def require_whole_passes(models: Mapping[str, ModelRecord], protocol: MeasureProtocol) -> None:
    """Checks that every pass has all its runs and that each took time.

    Raises:
        ProfileError: There are too few passes or runs, or times of zero.
    """
    for key, record in models.items():
        if len(record.passes) < protocol.passes:
            raise ProfileError(f"{key!r} has {len(record.passes)} passes, not {protocol.passes}; "
                               f"delete the result and {RUN_AGAIN}")
        for one in record.passes:
            if not len(one.cpu_ns) == len(one.wall_ns) == protocol.runs:
                raise ProfileError(f"{key!r} has a pass of {len(one.cpu_ns)} runs, not "
                                   f"{protocol.runs}; delete the result and {RUN_AGAIN}")
            if _takes_no_time(one):
                raise ProfileError(f"{key!r} has runs that took no time; delete the result and "
                                   f"{RUN_AGAIN}; a clock too coarse for them needs larger "
                                   "networks or a larger batch")


def _takes_no_time(one: PassRecord) -> bool:
    # A CPU clock that lost one run altogether is left out by the statistic, as on this machine.
    fastest = pass_minima_ms([one.times()])[0]
    return not (fastest > 0 and min(one.wall_ns) and one.loop_cpu_ns and one.loop_wall_ns)


def timing_of(record: ModelRecord, protocol: MeasureProtocol) -> Timing:
    """Returns a model's timing by the same statistic as on the machine at hand."""
    return summarise([one.times() for one in record.passes], protocol).model_copy(update={
        "peak_bytes": record.peak_bytes,
        "energy_mj": record.energy.mj if record.energy else None})


def wall_over_cpu(result: AgentResult) -> float:
    """Returns how much longer the wall clock ran than the timer's."""
    every = [one for record in result.models.values() for one in record.passes]
    return sum(one.loop_wall_ns for one in every) / sum(one.loop_cpu_ns for one in every)


def changes(result: AgentResult) -> list[str]:
    """Returns a warning where the device was not the same all the time."""
    modes = _modes(result.states)
    if len(modes) > 1:
        return [f"the power mode changed while measuring: {', '.join(modes)}"]
    return []


def device_of(result: AgentResult, name: str) -> Device:
    """Returns the device under the name that it was given at export."""
    machine, states = result.machine, result.states
    clocks = _clocks(result)
    hottest = [max(state.temperature_c.values()) for state in states if state.temperature_c]
    return Device(
        id=name, name=machine.soc or machine.cpu, cpu=machine.cpu, cores=machine.cores,
        memory_bytes=machine.memory_bytes, os=machine.os, soc=machine.soc,
        power_mode=next(iter(_modes(states)), None),
        clock_mhz=float(np.median(clocks)) if clocks else None,
        temperature_c=max(hottest) if hottest else None)


def runtime_of(setup: Setup) -> Runtime:
    """Returns the runtime of a result."""
    return Runtime(version=setup.version, provider=setup.provider, threads=setup.threads,
                   provider_options=setup.provider_options, precision=setup.precision,
                   batch=setup.batch)


def _clocks(result: AgentResult) -> tuple[float, ...]:
    # The first state is from before the first pass.
    return tuple(max(state.clock_mhz) for state in result.states[1:] if state.clock_mhz)


def _modes(states: Sequence[State]) -> list[str]:
    return list(dict.fromkeys(state.power_mode for state in states if state.power_mode))


def _provenance(result: AgentResult) -> dict[str, str]:
    machine = result.machine
    known = {"bundle": result.bundle, "device_python": machine.python,
             "device_numpy": machine.numpy, "device_architecture": machine.machine,
             "device_l4t": machine.l4t}
    energy = [record.energy for record in result.models.values() if record.energy]
    if energy:
        idle = float(np.median([one.idle_watts for one in energy]))
        known |= {"energy_source": energy[0].source, "idle_watts": f"{idle:.3f}"}
    return {name: value for name, value in known.items() if value}
