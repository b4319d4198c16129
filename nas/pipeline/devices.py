"""Latencies of devices that are not this machine: imported profiles first, then estimates."""

from collections.abc import Mapping, Sequence

from hardware_profiles.estimate import DeviceEstimate, shipped_estimates
from hardware_profiles.estimated import estimated_profile
from hardware_profiles.identity import generator_hash
from hardware_profiles.profile import HardwareProfile, Runtime
from hardware_profiles.registry import DEVICES
from hardware_profiles.store import KINDS, user_store
from nas.core.errors import InputError, ProfileError
from nas.core.protocols import Supernet
from nas.core.registry import unknown_name
from nas.pipeline.design import Design

HOST = "host"  # this machine


def foreign_profile(name: str, supernet: Supernet | Design, *, threads: int = 1,
                    precision: str | None = None, batch: int | None = None,
                    require_measured: bool = False) -> HardwareProfile:
    """Returns the best profile of a device for a supernet's space; the newest of equal ones.

    Args:
        name: The name that the device was exported and imported under, or that of an estimate.
        supernet: Whose space it must be of.
        threads: Of each inference; estimates know none but their own.
        precision: Of weights and activations; None: any.
        batch: Of each inference; None: any.
        require_measured: Whether an estimate will not do.

    Raises:
        InputError: Nothing is known of that device, or only of other spaces or settings, or only
            an estimate where a measurement is required. The message has the remedy.
    """
    estimate = _estimate(name)
    stored = _stored({name, estimate.id} if estimate else {name})
    generator = generator_hash(supernet.space, supernet.vocabulary)
    fitting = [profile for profile in stored if profile.generator == generator]
    asked = {"threads": threads, "precision": precision, "batch": batch}
    usable = [profile for profile in fitting if _meets(profile.runtime, asked)]
    if usable:
        return min(usable, key=lambda profile: (KINDS.index(profile.kind),
                                                -profile.created.timestamp()))
    if fitting:
        known = " and ".join(sorted({_settings(profile.runtime) for profile in fitting}))
        raise InputError(f"device {name!r} has been measured with {known}, not with "
                         f"{_options(asked)}; give that, or measure it again")
    if estimate is None:
        raise _unknown(name, stored, supernet)
    if require_measured:
        raise ProfileError(f"--require-measured: of device {name!r} there is only an estimate "
                           f"({estimate.id}, fitted to published measurements); {_remedy(name)}")
    profile = estimated_profile(estimate, supernet.space, supernet.vocabulary, supernet.block_ids)
    if not _meets(profile.runtime, {"precision": precision, "batch": batch}):
        raise InputError(f"the estimate of device {name!r} is for {_settings(profile.runtime)}; "
                         f"give that, or {_remedy(name)}")
    return profile


def _meets(runtime: Runtime, asked: Mapping[str, object]) -> bool:
    return all(value is None or getattr(runtime, option) == value
               for option, value in asked.items())


def _settings(runtime: Runtime) -> str:
    return _options({name: getattr(runtime, name) for name in ("threads", "precision", "batch")})


def _options(values: Mapping[str, object]) -> str:
    return " ".join(f"--{name} {value}" for name, value in values.items() if value is not None)


def _estimate(name: str) -> DeviceEstimate | None:
    return next((estimate for estimate in shipped_estimates().values()
                 if name in (estimate.id, *estimate.aliases)), None)


def _stored(names: set[str]) -> list[HardwareProfile]:
    return [item.profile for item in user_store().list()
            if item.profile is not None and item.profile.device.id in names]


def _unknown(name: str, stored: Sequence[HardwareProfile],
             supernet: Supernet | Design) -> InputError:
    if not stored:
        known = {entry.name for entry in DEVICES.entries} | {
            item.profile.device.id for item in user_store().list() if item.profile is not None}
        return InputError(f"{unknown_name('device', name, sorted(known))}, or {_remedy(name)}")
    spaces = ", ".join(sorted({profile.space for profile in stored}))
    return InputError(f"device {name!r} has been measured for {spaces}, not for "
                      f"{supernet.space.id} as it is now; {_remedy(name)}")


def _remedy(name: str) -> str:
    return (f"measure it: `nas profile export --device {name} -o bundle.zip`, run the agent in it "
            "on the device, `nas profile import result.json`")
