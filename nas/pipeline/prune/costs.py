"""What pruned networks cost, and the limit that a request sets."""

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes, read_profile
from hardware_profiles.table import METRIC as LATENCY
from hardware_profiles.table import LatencyTable
from nas.core.costs import ClosedFormCosts
from nas.core.files import replace_file
from nas.pipeline.compose import device_profile
from nas.pipeline.config import make_config
from nas.pipeline.events import Watcher
from nas.pipeline.prune.work import Work
from supernets.tas.budget import NetworkCost
from supernets.timm.supernet import TimmSupernet


def network_cost(work: Work, profile: HardwareProfile | None) -> NetworkCost:
    """Returns the cost that a request bounds.

    Args:
        work: The space.
        profile: Of the device, where latency is bounded.

    Raises:
        ProfileError: The profile lacks a block of the space.
    """
    supernet, metric = work.supernet, work.request.metric
    if profile is None:
        return closed_form(supernet, metric)
    table = LatencyTable(profile, supernet.vocabulary, supernet.block_ids)
    return NetworkCost(
        metric=LATENCY, space=supernet.space, vocabulary=supernet.slots,
        predict=lambda codes: table.predict(LATENCY, codes).value, shares=table.block_shares)


def closed_form(supernet: TimmSupernet, metric: str) -> NetworkCost:
    """Returns an exact cost of a supernet's networks: ``macs``, ``params``."""
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    table = costs.block_table(metric)
    return NetworkCost(metric=metric, space=supernet.space, vocabulary=supernet.slots,
                       predict=lambda codes: costs.predict(metric, codes).value,
                       shares=lambda _code: table)


def profile_of(work: Work, watch: Watcher) -> HardwareProfile | None:
    """Returns the latencies that networks are chosen by, where latency is bounded.

    They are measured where there are none, and kept in the work's folder.

    Raises:
        InputError: An unknown device, or one that was not measured for this space.
        OSError: The folder cannot be written.
    """
    request, path = work.request, work.folder.profile
    if request.metric != LATENCY:
        return None
    if path.is_file():
        return read_profile(path, remedy="remove it to measure again")
    profile = device_profile(make_config({"device": request.device, "threads": request.threads}),
                             work.supernet, watch=watch)
    replace_file(path, profile_bytes(profile))
    return profile
