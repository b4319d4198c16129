"""The latency of a result: predicted where the device is elsewhere, measured on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.arch import Arch
from nas.export.manifest import ONNX
from nas.pipeline.devices import HOST
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.folder import read_json, write_json
from nas.pipeline.prune.layers import block_rows, measured_blocks
from nas.pipeline.prune.measuring import Measured, measure_files
from nas.pipeline.prune.networks import Network
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget

TOLERANCE = 0.05  # of the limit, within which a measured latency meets it


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyFacts:
    """What is known of the latency of a pruned network and the one before it.

    Attributes:
        before_ms: Of the unpruned network.
        after_ms: Of the pruned one.
        measured: Both, as measured side by side on this machine; None: they are predicted.
        blocks: `nas.pipeline.prune.layers.block_rows`.
    """

    before_ms: float
    after_ms: float
    measured: Mapping[str, Measured] | None
    blocks: list[dict[str, Any]]


def latency_facts(work: Work, name: str, learnt_from: str, networks: tuple[Network, Network],
                  budget: Budget, watch: Watcher) -> LatencyFacts:
    """Returns the latencies of the unpruned and a pruned network; what is measured is kept.

    Raises:
        ProfileError: ONNX Runtime cannot run one of them.
        DataError: What was kept is damaged.
        OSError: A file cannot be written.
    """
    if work.request.device != HOST:
        return _predicted(work, networks[1].arch, budget)
    path, arch = work.folder.latency(name, learnt_from), networks[1].arch
    kept = read_json(path)
    if kept is None:
        watch(Event("latency", 0, 2, "both networks"))
        found = measure_files({part: network.bundle / ONNX for part, network
                               in zip(("before", "after"), networks, strict=True)},
                              threads=work.request.threads, seed=work.request.seed)
        watch(Event("latency", 1, 2, "each block"))
        kept = {"networks": {part: one.as_dict() for part, one in found.items()},
                "blocks": measured_blocks(work, arch)}
        write_json(path, kept)
        watch(Event("latency", 2, 2))
    measured = {part: Measured(**values) for part, values in kept["networks"].items()}
    return LatencyFacts(
        before_ms=measured["before"].latency_ms, after_ms=measured["after"].latency_ms,
        measured=measured, blocks=block_rows(work, arch, [kept["blocks"]] * 2))


def verdict(facts: LatencyFacts, budget: Budget, predicted: float) -> dict[str, Any]:
    """Returns target, prediction, measurement and spread of a latency budget, as JSON values.

    ``met`` is None where nothing was measured: a prediction meets nothing.
    """
    target, measured = budget.limit, facts.measured
    found = {"target_ms": target, "predicted_ms": predicted, "measured_ms": None, "spread": None,
             "stable": None, "met": None, "tolerance": TOLERANCE}
    if measured is not None:
        after = measured["after"]
        found |= {"measured_ms": after.latency_ms, "spread": after.spread, "stable": after.stable,
                  "met": abs(after.latency_ms / target - 1.0) <= TOLERANCE}
    return found


def latency_line(found: Mapping[str, Any]) -> str:
    """Returns a verdict in one line."""
    line = f"latency: target {found['target_ms']:.4g} ms, predicted {found['predicted_ms']:.4g} ms"
    if found["measured_ms"] is None:
        return f"{line}; not measured: the device is not this machine"
    settled = "" if found["stable"] else " (its passes did not settle)"
    return (f"{line}, measured {found['measured_ms']:.4g} ms with a spread of "
            f"{found['spread']:.1%}{settled}")


def aligned_line(multiple: int) -> str:
    """Returns why widths are other ones than the method chose, in one line."""
    return (f"widths are multiples of {multiple}: as the method chose them the network was not "
            "faster than the unpruned one")


def _predicted(work: Work, arch: Arch, budget: Budget) -> LatencyFacts:
    cost, space = budget.cost, work.supernet.space
    keys = [block.key for block in work.supernet.vocabulary]
    times = [dict(zip(keys, cost.shares(space.encode([one])[0]).tolist(), strict=True))
             for one in (work.largest, arch)]
    return LatencyFacts(before_ms=cost.of(work.largest), after_ms=cost.of(arch), measured=None,
                        blocks=block_rows(work, arch, times))
