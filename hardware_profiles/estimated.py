"""From a board's estimate to a profile of one search space."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from hardware_profiles.estimate import DeviceEstimate
from hardware_profiles.features import graph_features
from hardware_profiles.identity import generator_hash, profile_key
from hardware_profiles.profile import Calibration, HardwareProfile, Validity
from nas.core.blocks import Block
from nas.core.errors import ProfileError
from nas.core.space import GeneSpace
from nas.core.types import IntArray

NOT_MEASURED = "estimated, not measured on the device"
FEW_MODELS = 3  # a kind of kernel that fewer measured models have is as good as not fitted


def estimated_profile(estimate: DeviceEstimate, space: GeneSpace, vocabulary: Sequence[Block],
                      block_ids: Callable[[IntArray], IntArray]) -> HardwareProfile:
    """Returns the profile, of kind ``"estimated"``, that an estimate gives for a space.

    Args:
        estimate: Of a board.
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.

    Raises:
        ProfileError: The space has a kind of kernel that the estimate knows nothing of.
    """
    generator = generator_hash(space, vocabulary)
    key = profile_key(estimate.device, estimate.runtime, space=space.id, generator=generator)
    blocks = [graph_features(block.graph) for block in vocabulary]
    _require_known(estimate, blocks)
    count = sum(row.use == "fit" for row in estimate.rows)
    return HardwareProfile(
        id=key.name("estimated"), kind="estimated", device=estimate.device,
        runtime=estimate.runtime, space=space.id, generator=generator, protocol=None, entries=(),
        subnets=(),
        calibration=Calibration(
            model="analytic", coefficients=dict(estimate.coefficients), calib_count=count,
            test_count=count, held_out=estimate.held_out, held_out_by="leave one model out",
            lower_ratio=estimate.lower_ratio, upper_ratio=estimate.upper_ratio,
            baselines={"macs": estimate.macs_only}),
        validity=Validity(
            input_shape=vocabulary[0].graph.inputs[0].shape,
            ops=tuple(sorted({node.kind for block in vocabulary for node in block.graph.nodes})),
            extrapolated=_extrapolated(estimate, space, vocabulary, block_ids, blocks),
            warnings=_warnings(estimate, count)),
        provenance={"estimate": estimate.id, "rows": str(count),
                    "sources": "; ".join(f"{source.project} {source.path} ({source.licence})"
                                         for source in estimate.sources.values())},
        licence=estimate.licence, created=datetime.now(UTC))


def _require_known(estimate: DeviceEstimate, blocks: Sequence[Mapping[str, float]]) -> None:
    known = estimate.coefficients
    unknown = sorted({name.partition(":")[2] for features in blocks for name in features
                      if name.startswith("kernels:") and name not in known})
    if unknown:
        raise ProfileError(f"the estimate of {estimate.id} knows no kernels of kind "
                           f"{', '.join(unknown)}; measure the device: nas profile export")


def _warnings(estimate: DeviceEstimate, count: int) -> tuple[str, ...]:
    held, family = estimate.held_out, estimate.held_out_family
    return (
        NOT_MEASURED,
        f"fitted to {count} published measurements; a model left out is off by {held.mape:.0%} on "
        f"average, a family of models left out by {family.mape:.0%}",
        "ranking of networks within one search space is not validated",
    )


def _extrapolated(estimate: DeviceEstimate, space: GeneSpace, vocabulary: Sequence[Block],
                  block_ids: Callable[[IntArray], IntArray],
                  blocks: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    side, (low, high) = vocabulary[0].graph.inputs[0].shape[-1], estimate.input_px
    lines = [] if low <= side <= high else [f"input {side} px (fitted at {_span(low, high)} px)"]
    ends = [_sums(space, block_ids, blocks, largest=largest) for largest in (False, True)]
    ranges = {"MACs": ([name for name in estimate.coefficients if name.startswith("macs:")],
                       estimate.macs)}
    ranges |= {name: (list(term.features), term.fitted) for name, term in estimate.terms.items()}
    for name, (features, fitted) in ranges.items():
        small, large = (sum(end.get(feature, 0.0) for feature in features) for end in ends)
        if small < fitted[0] or large > fitted[1]:
            lines.append(f"{name} {_span(small, large)} (fitted at {_span(*fitted)})")
    for kind in sorted({name.partition(":")[2] for features in blocks for name in features}):
        models = {row.model for row in estimate.rows
                  if row.use == "fit" and f"kernels:{kind}" in row.features}
        if len(models) < FEW_MODELS:
            lines.append(f"kernels of kind {kind}: in {len(models)} of the fitted models")
    return tuple(lines)


def _sums(space: GeneSpace, block_ids: Callable[[IntArray], IntArray],
          blocks: Sequence[Mapping[str, float]], *, largest: bool) -> dict[str, float]:
    ids = block_ids(space.encode([space.extreme(largest=largest)]))[0]
    total: dict[str, float] = {}
    for features in (blocks[index] for index in ids[np.asarray(ids) >= 0]):
        for name, value in features.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g}–{high:.3g}"
