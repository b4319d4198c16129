"""A stored profile against networks that it has never seen, measured now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.calibrate import block_sums, quality
from hardware_profiles.candidates import relative_least_squares
from hardware_profiles.host import host_key, measure_graphs
from hardware_profiles.identity import AGAIN, generator_hash, require_space
from hardware_profiles.measure import Progress, this_runtime
from hardware_profiles.profile import HardwareProfile, Quality
from hardware_profiles.session import require_provider
from hardware_profiles.table import METRIC, LatencyTable
from hardware_profiles.verdict import Verdict, judge, require_enough
from nas.core.blocks import Block, chain
from nas.core.costs import Estimate, macs
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import FloatArray, IntArray

_MAX_DRAWS = 100  # batches of random networks before a space is found too small


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileCheck:
    """Predicted against measured.

    Attributes:
        profile: What was checked.
        digests: The fresh networks, N.
        estimate: Their predicted latency, in ms, (N,) each.
        measured_ms: Their measured one, (N,).
        verdict: Whether the profile's stated error holds.
        baselines: Quality of the raw sum of blocks and of MACs alone on the same networks.
        wall_over_cpu: Above 1.1 other processes took the core away from the check.
        unstable: Networks whose passes never agreed.
    """

    profile: HardwareProfile
    digests: tuple[str, ...]
    estimate: Estimate
    measured_ms: FloatArray
    verdict: Verdict
    baselines: dict[str, Quality]
    wall_over_cpu: float
    unstable: int


def check_profile(profile: HardwareProfile, space: GeneSpace, vocabulary: Sequence[Block],
                  block_ids: Callable[[IntArray], IntArray], *, nets: int = 40, seed: int = 0,
                  progress: Progress | None = None) -> ProfileCheck:
    """Measures fresh random networks on this machine and compares them with the profile.

    They are measured as those of the profile were: same protocol, threads and batch.

    Args:
        profile: One of this machine.
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        nets: How many networks; none of them is in the profile.
        seed: Of the networks drawn, their weights and the order of measuring.
        progress: Called with (measurements done, planned so far).

    Raises:
        ProfileError: The profile is of another space, machine or runtime, the space has too few
            networks, or `nets` is outside 4 … 1000.
    """
    require_space(profile, space=space.id, generator=generator_hash(space, vocabulary))
    require_this_machine(profile, space, vocabulary)
    require_enough(nets, profile.calibration)
    if profile.protocol is None:
        raise ProfileError(f"profile {profile.id} is an estimate: nothing was measured that a "
                           f"check could repeat; {AGAIN}")
    table = LatencyTable(profile, vocabulary, block_ids)
    codes = fresh_networks(profile, space, nets, seed=seed)
    graphs = {str(row): chain([vocabulary[i] for i in slots if i >= 0])
              for row, slots in enumerate(block_ids(codes))}
    of = profile.runtime
    runtime = this_runtime(threads=of.threads, batch=of.batch, precision=of.precision,
                           provider=of.provider)
    found = measure_graphs(graphs, runtime=runtime, protocol=profile.protocol, seed=seed,
                           progress=progress)
    measured_ms = np.array([found.timings[key].latency_ms for key in graphs])
    estimate = table.predict(METRIC, codes)
    return ProfileCheck(
        profile=profile, digests=tuple(arch.digest for arch in space.decode(codes)),
        estimate=estimate, measured_ms=measured_ms,
        verdict=judge(estimate, measured_ms, stated=profile.calibration),
        baselines=baselines(table, codes, measured_ms), wall_over_cpu=found.wall_over_cpu,
        unstable=sum(not timing.stable for timing in found.timings.values()))


def require_this_machine(profile: HardwareProfile, space: GeneSpace,
                         vocabulary: Sequence[Block]) -> None:
    """Checks that this machine can measure what the profile states.

    Raises:
        ProfileError: It is of another device, runtime or version, of a provider that is not
            installed, or wants more threads than there are cores.
    """
    of = profile.runtime
    here = host_key(space, vocabulary, threads=of.threads, batch=of.batch,
                    precision=of.precision, provider=of.provider)
    if profile.device.id != here.device:
        raise ProfileError(f"profile {profile.id} is of device {profile.device.id}, this machine "
                           f"is {here.device}; check it on that device, or {AGAIN}")
    for name in ("runtime", "version", "provider", "precision"):
        of_profile, of_host = getattr(profile.key, name), getattr(here, name)
        if of_profile != of_host:
            raise ProfileError(f"profile {profile.id} was measured with {profile.runtime.name} "
                               f"{name} {of_profile}, here it is {of_host}; {AGAIN}")
    try:
        require_provider(of.provider)
    except ProfileError as error:
        raise ProfileError(f"profile {profile.id}: {error}, or {AGAIN}") from None
    if profile.device.cores is not None and profile.runtime.threads > profile.device.cores:
        raise ProfileError(f"profile {profile.id} is of {profile.runtime.threads} threads, this "
                           f"machine has {profile.device.cores} cores; {AGAIN} with --threads")


def fresh_networks(profile: HardwareProfile, space: GeneSpace, count: int, *,
                   seed: int) -> IntArray:
    """Returns codes (count, genes) of distinct random networks, none of which is in the profile.

    Raises:
        ProfileError: The space has too few.
    """
    rng = derive_rng(seed, "fresh networks")
    known = {net.codes for net in profile.subnets}
    found: dict[tuple[int, ...], None] = {}
    for _ in range(_MAX_DRAWS):
        rows = map(tuple, space.sample_codes(count, rng).tolist())
        found |= dict.fromkeys(row for row in rows if row not in known)
        if len(found) >= count:
            return np.array(list(found)[:count], dtype=np.int16)
    raise ProfileError(f"space {space.id} has too few networks beside the {len(known)} of the "
                       f"profile: {len(found)} found, {count} needed; ask for fewer with --nets")


def baselines(table: LatencyTable, codes: IntArray, measured_ms: FloatArray) -> dict[str, Quality]:
    """Returns the quality of the profile's baselines on other networks.

    These are the sum of the blocks' own times, if the profile has any, and MACs times the factor
    that fits the profile's calibration networks.

    Raises:
        ProfileError: The profile holds no calibration networks.
    """
    profile = table.profile
    fitted = [net for net in profile.subnets if net.split == "calib"]
    if not fitted:
        raise ProfileError(f"profile {profile.id} holds no calibration networks; {AGAIN}")
    times = {entry.key: entry.timing.latency_ms for entry in profile.entries}
    block_macs = np.array([macs(block.graph) for block in table.vocabulary], dtype=np.float64)

    def total(per_block: FloatArray, of: IntArray) -> FloatArray:
        return block_sums(per_block, table.block_ids(of))

    factor = relative_least_squares(
        total(block_macs, np.array([net.codes for net in fitted]))[:, None],
        np.array([net.timing.latency_ms for net in fitted]))[0]
    found = {"macs": quality(factor * total(block_macs, codes), measured_ms)}
    if times and profile.kind == "measured":  # a few-shot profile's blocks are of another key
        block_ms = np.array([times[block.key] for block in table.vocabulary])
        found["block_sum"] = quality(total(block_ms, codes), measured_ms)
    return found
