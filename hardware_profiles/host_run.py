"""Measuring this machine as a job: it can be killed and gone on with, and is stored or refused."""

from collections.abc import Callable, Sequence

from hardware_profiles.host import HostConfig, host_key, profile_host
from hardware_profiles.journal import open_journal
from hardware_profiles.measure import Progress
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.session import require_provider
from hardware_profiles.store import ProfileStore
from hardware_profiles.validity import doubts
from nas.core.blocks import Block
from nas.core.errors import MeasurementError
from nas.core.space import GeneSpace
from nas.core.types import IntArray


def run_host(store: ProfileStore, space: GeneSpace, vocabulary: Sequence[Block],
             block_ids: Callable[[IntArray], IntArray], *, seed: int, config: HostConfig,
             keep_doubtful: bool, progress: Progress | None = None,
             notice: Callable[[str], None] | None = None) -> HardwareProfile:
    """Measures this machine and stores the profile in place of one with the same key.

    Passes are kept in a file beside the store until the profile is there: a run that was killed
    goes on where it was. A refused one can be had without measuring again, by `keep_doubtful`;
    otherwise it is measured anew.

    Args:
        store: Where the profile goes.
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        seed: Of the networks drawn, the weights and the order of measuring.
        config: How many networks, threads, passes.
        keep_doubtful: Whether a measurement that was disturbed or does not repeat is stored too,
            with the warnings in its `Validity`.
        progress: Called with (measurements done, planned so far).
        notice: Told in one line what became of an earlier run's passes.

    Raises:
        MeasurementError: The measurement cannot be trusted.
        ProfileError: It cannot be made or stored.
    """
    require_provider(config.provider)
    store.require_writable()
    key = host_key(space, vocabulary, threads=config.threads, batch=config.batch,
                   precision=config.precision, provider=config.provider)
    identity = {**key.model_dump(), "seed": seed, "calib_nets": config.calib_nets,
                "test_nets": config.test_nets,
                "protocol": config.protocol and config.protocol.model_dump(mode="json")}
    path = store.folder / f"{key.name('measured')}.passes"
    with open_journal(path, identity, keep_refused=keep_doubtful) as journal:
        if notice is not None:
            if journal.notice is not None:
                notice(f"passes of an earlier run are thrown away: {journal.notice}")
            elif journal.passes:
                notice(f"going on after {sum(map(len, journal.passes.values()))} passes of an "
                       "earlier run")
        profile = profile_host(space, vocabulary, block_ids, seed=seed, config=config,
                               progress=progress, journal=journal)
        found = doubts(profile.validity)
        if found and not keep_doubtful:
            journal.refuse()
            raise MeasurementError(f"this measurement is not stored: {'; '.join(found)}; end other "
                                   "programs and measure again, or keep it with --allow-contended "
                                   "(which does not measure again)")
        store.save(profile)
    return profile
