"""From timings to a profile, wherever they were taken."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from hardware_profiles.calibrate import calibrate
from hardware_profiles.features import block_features
from hardware_profiles.identity import generator_hash, profile_key
from hardware_profiles.measure import Measurement
from hardware_profiles.plan import EMPTY, MeasurePlan, network_key
from hardware_profiles.profile import (
    Device,
    Entry,
    HardwareProfile,
    MeasureProtocol,
    Runtime,
    Subnet,
)
from hardware_profiles.validity import assess
from nas.core.blocks import Block
from nas.core.costs import macs
from nas.core.space import GeneSpace


def assemble(space: GeneSpace, vocabulary: Sequence[Block], plan: MeasurePlan,
             measured: Measurement, *, device: Device, runtime: Runtime,
             protocol: MeasureProtocol, seed: int,
             remarks: Sequence[str] = ()) -> HardwareProfile:
    """Calibrates and returns the profile of what a plan's measurement gave.

    `remarks` are what else a reader should know, one line each.

    Raises:
        ProfileError: A fit that makes no sense.
    """
    timings, fitted = measured.timings, plan.calib_nets
    nets = [timings[network_key(row)] for row in range(len(plan.codes))]
    net_ms = np.array([timing.latency_ms for timing in nets])
    calibration = calibrate(
        block_ms=np.array([timings[block.key].latency_ms for block in vocabulary]),
        block_macs=np.array([macs(block.graph) for block in vocabulary], dtype=np.float64),
        empty_ms=timings[EMPTY].latency_ms, calib=(plan.ids[:fitted], net_ms[:fitted]),
        test=(plan.ids[fitted:], net_ms[fitted:]), features=block_features(vocabulary))
    generator = generator_hash(space, vocabulary)
    key = profile_key(device, runtime, space=space.id, generator=generator)
    return HardwareProfile(
        id=key.name("measured"), kind="measured", device=device, runtime=runtime,
        space=space.id, generator=generator, protocol=protocol,
        entries=tuple(Entry(key=block.key, timing=timings[block.key]) for block in vocabulary),
        subnets=tuple(
            Subnet(digest=arch.digest, codes=tuple(code), timing=timing,
                   split="calib" if row < fitted else "test")
            for row, (arch, code, timing) in enumerate(
                zip(space.decode(plan.codes), plan.codes.tolist(), nets, strict=True))),
        calibration=calibration, provenance=provenance(seed), licence="CC0-1.0",
        validity=assess(vocabulary, nets, measured, protocol=protocol, calibration=calibration,
                        remarks=remarks),
        created=datetime.now(UTC))


def provenance(seed: int) -> dict[str, str]:
    """Returns which program made a profile, and with which seed."""
    try:
        own = version("nas-service")
    except PackageNotFoundError:  # run from a source tree that is not installed
        own = "source tree"
    return {"program": "nas-service", "program_version": own, "python": platform.python_version(),
            "seed": str(seed)}
