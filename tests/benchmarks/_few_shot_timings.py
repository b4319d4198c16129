"""Timings of many networks in several configurations, kept in a work folder and added to.

Measuring takes minutes, comparing fits takes seconds: what is measured once is resampled.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware_profiles.host import HostConfig, measure_graphs, profile_host
from hardware_profiles.measure import Measurement, protocol_for, this_runtime
from hardware_profiles.plan import MeasurePlan, network_key
from hardware_profiles.profile import HardwareProfile, MeasureProtocol, Runtime, Timing
from hardware_profiles.profile_file import read_profile, write_profile
from nas.core.blocks import chain
from nas.core.space import GeneSpace
from nas.core.types import FloatArray, IntArray
from nas.core.vocabulary import Vocabulary
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, build_space
from supernets.mobilenet.presets import FMNIST

FMNIST_224 = dataclasses.replace(FMNIST, input_shape=(1, 224, 224), name="mobilenet-fmnist/1@224")
SHORT = {"max_passes": 11}
LARGE_IMAGES = {"warm_up": 2, "runs": 12, "passes": 5, "max_passes": 11}  # a run takes ≥1 ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A space and how its networks are run.

    Attributes:
        space: What the networks are.
        prior: Name of the configuration whose full profile may help; None: there is none.
        threads: Of each inference.
        batch: Of each inference.
    """

    space: MobileNetConfig
    prior: str | None = None
    threads: int = 1
    batch: int = 1

    @property
    def runtime(self) -> Runtime:
        """What runs the networks."""
        return this_runtime(threads=self.threads, batch=self.batch)

    @property
    def protocol(self) -> MeasureProtocol:
        """The default one, shorter."""
        shorter = LARGE_IMAGES if self.space.input_shape[1] > 100 else SHORT
        return protocol_for(self.runtime).model_copy(update=shorter)


CONFIGURATIONS = {
    "28px, 1 thread": Configuration(space=FMNIST),
    "28px, 2 threads": Configuration(space=FMNIST, threads=2, prior="28px, 1 thread"),
    "28px, batch 8": Configuration(space=FMNIST, batch=8, prior="28px, 1 thread"),
    "224px, 1 thread": Configuration(space=FMNIST_224),
    "224px, 2 threads": Configuration(space=FMNIST_224, threads=2, prior="224px, 1 thread"),
}


@dataclass(frozen=True, slots=True)
class Timings:
    """What was measured in one configuration, by architecture, in one file of `work`."""

    name: str
    work: Path
    space: GeneSpace
    vocabulary: Vocabulary

    @property
    def configuration(self) -> Configuration:
        """What was measured."""
        return CONFIGURATIONS[self.name]

    def of(self, codes: IntArray) -> list[Timing]:
        """Returns the timings of networks, (N,); measures those that are not known yet."""
        path = self.work / f"{self.name}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        digests = [arch.digest for arch in self.space.decode(codes)]
        missing = {digest: chain([self.vocabulary.blocks[i] for i in row if i >= 0])
                   for digest, row in zip(digests, self.vocabulary.block_ids(codes), strict=True)
                   if digest not in known}
        if missing:
            found = measure_graphs(missing, runtime=self.configuration.runtime, seed=0,
                                   protocol=self.configuration.protocol)
            known |= {key: timing.model_dump() for key, timing in found.timings.items()}
            path.write_text(json.dumps(known))
            unstable = sum(not timing.stable for timing in found.timings.values())
            print(f"{self.name}: measured {len(missing)}, {unstable} of them unstable, wall/CPU "
                  f"{found.wall_over_cpu:.2f}", flush=True)
        return [Timing.model_validate(known[digest]) for digest in digests]

    def latency_ms(self, codes: IntArray) -> FloatArray:
        """Returns the latency of networks, (N,)."""
        return np.array([timing.latency_ms for timing in self.of(codes)])

    def measurement(self, codes: IntArray) -> Measurement:
        """Returns the timings as a plan's measurement gives them."""
        return Measurement({network_key(row): timing
                            for row, timing in enumerate(self.of(codes))}, 1.0)

    def plan(self, codes: IntArray) -> MeasurePlan:
        """Returns the plan that these networks would have been."""
        return MeasurePlan(graphs={}, codes=codes, ids=self.vocabulary.block_ids(codes),
                           calib_nets=len(codes))

    def full_profile(self) -> HardwareProfile:
        """Returns the profile with every block; measures it if it is not there yet."""
        path = self.work / f"{self.name}.profile.json"
        if not path.exists():
            config = self.configuration
            write_profile(profile_host(
                self.space, self.vocabulary.blocks, self.vocabulary.block_ids, seed=0,
                config=HostConfig(threads=config.threads, batch=config.batch,
                                  protocol=config.protocol)), path)
            print(f"{self.name}: measured every block", flush=True)
        return read_profile(path)


def timings(name: str, work: Path) -> Timings:
    """Returns the timings of a configuration that `work` holds."""
    space = build_space(CONFIGURATIONS[name].space)
    return Timings(name, work, space, build_vocabulary(CONFIGURATIONS[name].space, space))
