"""What pruned networks cost, and whether a request can be met at all."""

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes, read_profile
from hardware_profiles.table import METRIC as LATENCY
from hardware_profiles.table import LatencyTable
from nas.core.costs import ClosedFormCosts
from nas.core.files import replace_file
from nas.pipeline.compose import device_profile
from nas.pipeline.config import make_config
from nas.pipeline.events import Watcher
from nas.pipeline.prune.folder import PruneDir
from nas.pipeline.prune.request import PruneRequest
from supernets.tas.budget import Budget, NetworkCost
from supernets.timm.supernet import TimmSupernet


def network_cost(supernet: TimmSupernet, metric: str, profile: HardwareProfile | None
                 ) -> NetworkCost:
    """Returns a cost of a supernet's networks: ``macs``, ``params``, ``latency_ms``.

    Args:
        supernet: Of the space.
        metric: Which cost.
        profile: Of the device, for latency.

    Raises:
        ProfileError: The profile lacks a block of the space.
    """
    space, slots = supernet.space, supernet.slots
    if profile is not None:
        timed = LatencyTable(profile, supernet.vocabulary, supernet.block_ids)
        return NetworkCost(metric=metric, space=space, vocabulary=slots,
                           predict=lambda codes: timed.predict(metric, codes).value,
                           shares=timed.block_shares)
    counted = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    table = counted.block_table(metric)
    return NetworkCost(metric=metric, space=space, vocabulary=slots,
                       predict=lambda codes: counted.predict(metric, codes).value,
                       shares=lambda _code: table)


def profile_of(request: PruneRequest, folder: PruneDir, supernet: TimmSupernet, watch: Watcher
               ) -> HardwareProfile | None:
    """Returns the latencies that networks are chosen by, where latency is bounded.

    They are measured where there are none. Once the folder is of this work it keeps them.

    Raises:
        InputError: An unknown device, or one that was not measured for this space.
        OSError: The folder cannot be written.
    """
    if request.metric != LATENCY:
        return None
    if folder.profile.is_file():
        return read_profile(folder.profile, remedy="remove it to measure again")
    profile = device_profile(make_config({"device": request.device, "threads": request.threads}),
                             supernet, watch=watch)
    if folder.options.is_file():
        replace_file(folder.profile, profile_bytes(profile))
    return profile


def require_reachable(request: PruneRequest, folder: PruneDir, supernet: TimmSupernet,
                      watch: Watcher) -> None:
    """Checks a budget before anything is trained for it.

    Raises:
        InputError: No network of the space is within it, or all are, or the device's profile does
            not cover the space.
        OSError: The folder cannot be written.
    """
    cost = network_cost(supernet, request.metric, profile_of(request, folder, supernet, watch))
    whole = cost.of(supernet.space.extreme(largest=True))
    Budget(cost=cost, limit=request.amount.of(whole))
