"""A profile from a few whole networks: which to measure, and what to make of their times.

Nothing is measured but whole networks, so a board whose runtime compiles whole engines, or a
configuration that is wanted in a minute, gets a table too. Latency is a sum of features of the
blocks; which features, cross-validation decides (see `hardware_profiles.few_shot_fit`).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from hardware_profiles.assemble import provenance
from hardware_profiles.calibrate import block_sums, quality
from hardware_profiles.candidates import relative_least_squares
from hardware_profiles.coverage import Method, choose_rows, whitened
from hardware_profiles.features import OWN_MS, network_features
from hardware_profiles.few_shot_features import feature_sets, set_features, usable_sets
from hardware_profiles.few_shot_fit import FewShotFit, fit_few_shot, ratio_interval
from hardware_profiles.identity import generator_hash, profile_key, require_space
from hardware_profiles.measure import Measurement
from hardware_profiles.plan import MeasurePlan, network_key
from hardware_profiles.profile import (
    CONSTANT,
    Calibration,
    Device,
    HardwareProfile,
    MeasureProtocol,
    Quality,
    Runtime,
    Subnet,
)
from hardware_profiles.validity import assess
from nas.core.blocks import Block, chain
from nas.core.costs import macs
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import FloatArray, IntArray

BlockIds = Callable[[IntArray], IntArray]

POOL = 4000  # random networks to choose from, and to try a fit on


def plan_few_shot(space: GeneSpace, vocabulary: Sequence[Block], block_ids: BlockIds, *,
                  nets: int, seed: int, method: Method = "d_optimal") -> MeasurePlan:
    """Returns the plan that measures a few networks which cover the space, and no blocks.

    The smallest and the largest are among them; the rest is chosen from a random pool by the
    features that a fit may use. The same seed gives the same plan.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        nets: How many.
        seed: Of the pool.
        method: See `hardware_profiles.coverage.choose_rows`.

    Raises:
        ProfileError: Fewer networks than the smallest set of features needs, or than the space
            has.
    """
    pool, sets = _pool(space, seed), feature_sets(vocabulary)
    pool_ids = block_ids(pool)
    usable_sets(nets, set_features(sets, vocabulary, pool_ids))
    if nets > len(pool):
        raise ProfileError(f"space {space.id} has {len(pool)} networks to choose from, not {nets}")
    every = sorted({name for names in sets.values() for name in names})
    rows = choose_rows(whitened(network_features(every, vocabulary, pool_ids)), nets,
                       method=method, first=(0, 1), rng=derive_rng(seed, "few-shot choice"))
    codes = pool[rows]
    ids = block_ids(codes)
    return MeasurePlan(
        graphs={network_key(row): chain([vocabulary[i] for i in slots if i >= 0])
                for row, slots in enumerate(ids)},
        codes=codes, ids=ids, calib_nets=nets)


def assemble_few_shot(space: GeneSpace, vocabulary: Sequence[Block], block_ids: BlockIds,
                      plan: MeasurePlan, measured: Measurement, *, device: Device,
                      runtime: Runtime, protocol: MeasureProtocol, seed: int,
                      prior: HardwareProfile | None = None) -> HardwareProfile:
    """Fits and returns the profile of what a few-shot plan's measurement gave.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes → vocabulary ids.
        plan: From `plan_few_shot`.
        measured: The timings of its networks.
        device: Where they were measured.
        runtime: What ran them.
        protocol: How they were taken.
        seed: Of the plan.
        prior: A measured profile of the same space, of whatever device or configuration; its
            blocks' own times are one more feature, used if cross-validation is for it.

    Raises:
        ProfileError: Too few networks, a time that is no latency, a prior of another space, or
            a fit that makes no sense.
    """
    generator = generator_hash(space, vocabulary)
    if prior is not None:
        require_space(prior, space=space.id, generator=generator)
    nets = [measured.timings[network_key(row)] for row in range(len(plan.codes))]
    net_ms = np.array([timing.latency_ms for timing in nets])
    sets, own_ms = feature_sets(vocabulary, prior=prior is not None), _own_ms(prior)
    pool = set_features(sets, vocabulary, block_ids(_pool(space, seed)), own_ms)
    shown = set_features(sets, vocabulary, plan.ids, own_ms)
    fit = fit_few_shot({name: shown[name] for name in usable_sets(len(nets), pool)}, net_ms)
    if (pool[fit.features] @ fit.coefficients).min() <= 0:
        raise ProfileError(f"the fit to {len(nets)} networks gives some network of the space a "
                           "latency that is not positive; measure more networks")
    base = prior if prior is not None and OWN_MS in sets[fit.features] else None
    calibration = _calibration(fit, [*sets[fit.features], CONSTANT], net_ms, base,
                               _macs_alone(plan, vocabulary, net_ms))
    key = profile_key(device, runtime, space=space.id, generator=generator)
    return HardwareProfile(
        id=key.name("fewshot"), kind="fewshot", device=device, runtime=runtime, space=space.id,
        generator=generator, protocol=protocol, entries=base.entries if base else (),
        subnets=tuple(
            Subnet(digest=arch.digest, codes=tuple(code), timing=timing, split="calib")
            for arch, code, timing in zip(space.decode(plan.codes), plan.codes.tolist(), nets,
                                          strict=True)),
        calibration=calibration, licence="CC0-1.0", created=datetime.now(UTC),
        provenance=provenance(seed) | ({"blocks_of": base.id} if base else {}),
        validity=assess(vocabulary, nets, measured, protocol=protocol, calibration=calibration))


def _pool(space: GeneSpace, seed: int) -> IntArray:
    # Distinct codes: the smallest, the largest, then random ones.
    extremes = space.encode([space.extreme(largest=False), space.extreme(largest=True)])
    drawn = space.sample_codes(POOL, derive_rng(seed, "few-shot pool"))
    found = dict.fromkeys(map(tuple, np.concatenate([extremes, drawn]).tolist()))
    return np.array(list(found), dtype=extremes.dtype)


def _own_ms(prior: HardwareProfile | None) -> dict[str, float]:
    if prior is None:
        return {}
    empty_ms = prior.calibration.empty_ms or 0.0
    return {entry.key: entry.timing.latency_ms - empty_ms for entry in prior.entries}


def _calibration(fit: FewShotFit, names: Sequence[str], net_ms: FloatArray,
                 base: HardwareProfile | None, macs_alone: Quality) -> Calibration:
    lower, upper = ratio_interval(fit.predicted_ms, net_ms)
    return Calibration(
        model=f"few_shot_{fit.features}",
        coefficients=dict(zip(names, fit.coefficients.tolist(), strict=True)),
        empty_ms=base.calibration.empty_ms if base else None, calib_count=len(net_ms),
        test_count=len(net_ms), held_out=quality(fit.predicted_ms, net_ms),
        held_out_by="cross-validation", lower_ratio=lower, upper_ratio=upper,
        baselines={"macs": macs_alone})


def _macs_alone(plan: MeasurePlan, vocabulary: Sequence[Block], net_ms: FloatArray) -> Quality:
    block_macs = np.array([macs(block.graph) for block in vocabulary], dtype=np.float64)
    counts = block_sums(block_macs, plan.ids)
    rows = np.arange(len(net_ms))
    predicted = [counts[row] * relative_least_squares(counts[rows != row, None],
                                                      net_ms[rows != row])[0] for row in rows]
    return quality(np.array(predicted), net_ms)
