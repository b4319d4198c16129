"""A few-shot profile of the machine that this program runs on."""

from collections.abc import Sequence

from hardware_profiles.few_shot import BlockIds, assemble_few_shot, plan_few_shot
from hardware_profiles.host import HostConfig, host_device, host_key, measure_graphs
from hardware_profiles.measure import Progress, protocol_for
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.session import require_provider
from hardware_profiles.store import ProfileStore
from hardware_profiles.validity import doubts
from nas.core.blocks import Block
from nas.core.errors import MeasurementError
from nas.core.space import GeneSpace


def run_few_shot(store: ProfileStore, space: GeneSpace, vocabulary: Sequence[Block],
                 block_ids: BlockIds, *, nets: int, seed: int, config: HostConfig,
                 keep_doubtful: bool, progress: Progress | None = None) -> HardwareProfile:
    """Measures a few whole networks of a space on this machine, fits, and stores the profile.

    The blocks of a measured profile of the same space and device, whatever its configuration, are
    one more feature of the fit if one is stored.

    Args:
        store: Where the profile goes.
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        nets: How many networks.
        seed: Of the networks chosen, the weights and the order of measuring.
        config: Threads, precision, batch, provider and protocol; the rest does not apply.
        keep_doubtful: Whether a measurement that was disturbed or does not repeat is stored too.
        progress: Called with (measurements done, planned so far).

    Raises:
        MeasurementError: The measurement cannot be trusted.
        ProfileError: Too few networks, or ONNX Runtime cannot run them, or a fit that makes no
            sense.
    """
    require_provider(config.provider)
    store.require_writable()
    plan = plan_few_shot(space, vocabulary, block_ids, nets=nets, seed=seed)
    key = host_key(space, vocabulary, threads=config.threads, batch=config.batch,
                   precision=config.precision, provider=config.provider)
    prior = store.measured(space=key.space, generator=key.generator, device=key.device)
    runtime, protocol = config.runtime, config.protocol or protocol_for(config.runtime)
    measured = measure_graphs(plan.graphs, runtime=runtime, protocol=protocol, seed=seed,
                              progress=progress)
    profile = assemble_few_shot(space, vocabulary, block_ids, plan, measured,
                                device=host_device(), runtime=runtime, protocol=protocol,
                                seed=seed, prior=prior)
    found = doubts(profile.validity)
    if found and not keep_doubtful:
        raise MeasurementError(f"this measurement is not stored: {'; '.join(found)}; end other "
                               "programs and measure again, or keep the next one with "
                               "--allow-contended")
    store.save(profile)
    return profile
