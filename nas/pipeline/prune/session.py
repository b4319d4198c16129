"""One network and one budget; every method that is asked for prunes the one to the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.table import METRIC as LATENCY
from nas.core.errors import DataError
from nas.export.manifest import ONNX
from nas.pipeline.devices import HOST
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.choosing import Choice, Pruner, chosen, make_pruner, work_for
from nas.pipeline.prune.costs import network_cost, profile_of
from nas.pipeline.prune.folder import read_json, write_json
from nas.pipeline.prune.latency import latency_facts, verdict
from nas.pipeline.prune.layers import layer_rows, original_layers
from nas.pipeline.prune.measuring import measure_files
from nas.pipeline.prune.networks import Network, pruned_network, unpruned_network
from nas.pipeline.prune.work import Work
from nas.pipeline.search import versions
from supernets.tas.budget import Budget


@dataclass(frozen=True, slots=True)
class Job:
    """What one method is given: its space, its budget; and the method, made when first called."""

    work: Work
    budget: Budget
    pruner: Callable[[], Pruner]


@dataclass(kw_only=True, eq=False)
class Session:
    """What several methods have in common.

    Attributes:
        work: What is pruned.
        watch: Is told of every step.
    """

    work: Work
    watch: Watcher
    _jobs: dict[str, Job] = field(default_factory=dict, init=False)

    @cached_property
    def unpruned(self) -> Network:
        """The network before."""
        return unpruned_network(self.work, self.watch)

    @cached_property
    def profile(self) -> HardwareProfile | None:
        """The device's latencies, where they are bounded."""
        work = self.work
        return profile_of(work.request, work.folder, work.supernet, self.watch)

    @cached_property
    def limit(self) -> float:
        """What pruned networks may cost."""
        work, amount = self.work, self.work.request.amount
        if not amount.is_share:
            return amount.value
        whole = self._measured_ms() if self._is_measured else network_cost(
            work.supernet, work.request.metric, self.profile).of(work.largest)
        return amount.of(whole)

    def job(self, name: str) -> Job:
        """Returns what a method is given.

        Raises:
            InputError: No network of the space is within the budget, or all are, or the device's
                profile does not cover the space.
        """
        if name not in self._jobs:
            work = work_for(self.work, name)
            cost = network_cost(work.supernet, work.request.metric, self.profile)
            budget = Budget(cost=cost, limit=self.limit)
            self._jobs[name] = Job(work, budget, cache(
                lambda: make_pruner(work, name, budget, self.watch)))
        return self._jobs[name]

    def choice(self, name: str) -> Choice:
        """Returns what a method chooses, or has chosen.

        Raises:
            InputError: It cannot reach the budget.
        """
        job = self.job(name)
        return chosen(job.work, name, job.budget, job.pruner,
                      lambda: self.unpruned.bundle / ONNX, self.watch)

    def result(self, name: str, learnt_from: str) -> dict[str, Any]:
        """Returns all that is known of a method's network, as JSON values.

        The network is chosen, trained and exported, where that is not done yet.
        """
        job = self.job(name)
        work, request, budget = job.work, job.work.request, job.budget
        choice, before = self.choice(name), self.unpruned
        after = pruned_network(work, name, choice.arch, job.pruner, learnt_from=learnt_from,
                               watch=self.watch)
        latency = latency_facts(work, name, learnt_from, (before, after), budget, self.watch)
        return {
            "method": name, "model": request.model,
            "before": _costs(before, latency.before_ms), "after": _costs(after, latency.after_ms),
            "accuracy": {"before": before.accuracy("test"), "after": after.accuracy("test"),
                         "validation_before": before.accuracy("search"),
                         "validation_after": after.accuracy("search")},
            "bundle": str(after.bundle),
            "budget": {"metric": request.metric, "asked": request.amount.text,
                       "limit": budget.limit, "found": choice.predicted},
            "aligned": choice.aligned,
            "latency": verdict(latency, budget, choice.predicted)
            if request.metric == LATENCY else None,
            "latency_kind": "predicted" if latency.measured is None else "measured",
            "slower": latency.measured is not None and latency.after_ms > latency.before_ms,
            "device": request.device, "learnt_from": learnt_from,
            "weights": after.manifest.provenance["weights"], "seed": request.seed,
            "epochs": request.epochs, "digest": choice.arch.digest, "arch": choice.arch.as_dict(),
            "layers": layer_rows(original_layers(work, work.largest),
                                 original_layers(work, choice.arch)),
            "blocks": latency.blocks, "versions": versions()}

    @property
    def _is_measured(self) -> bool:
        request = self.work.request
        return request.metric == LATENCY and request.device == HOST

    def _measured_ms(self) -> float:
        # Of the unpruned network, of which the budget may be a percentage.
        path = self.work.folder.unpruned_latency
        kept = read_json(path)
        if kept is None:
            self.watch(Event("latency", 0, 1, "the unpruned network"))
            kept = measure_files({"network": self.unpruned.bundle / ONNX},
                                 threads=self.work.request.threads,
                                 seed=self.work.request.seed)["network"].as_dict()
            write_json(path, kept)
        try:
            return float(kept["latency_ms"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path} is damaged; remove it to measure again") from None


def _costs(network: Network, latency_ms: float) -> Mapping[str, Any]:
    costs = network.costs
    return {"macs": costs["macs"], "params": costs["params"], "latency_ms": latency_ms}
