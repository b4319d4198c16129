"""A few-shot profile of the machine that this program runs on."""

from collections.abc import Sequence

from hardware_profiles.few_shot import BlockIds, assemble_few_shot, plan_few_shot
from hardware_profiles.host import host_device, measure_graphs
from hardware_profiles.measure import Progress, protocol_for, this_runtime
from hardware_profiles.profile import HardwareProfile, MeasureProtocol
from nas.core.blocks import Block
from nas.core.space import GeneSpace


def profile_host_few_shot(space: GeneSpace, vocabulary: Sequence[Block], block_ids: BlockIds, *,
                          nets: int, seed: int, threads: int = 1, batch: int = 1,
                          protocol: MeasureProtocol | None = None,
                          prior: HardwareProfile | None = None,
                          progress: Progress | None = None) -> HardwareProfile:
    """Measures a few whole networks of a space on this machine, and fits.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        nets: How many networks.
        seed: Of the networks chosen, the weights and the order of measuring.
        threads: Of each inference.
        batch: Of each inference.
        protocol: How each latency is taken; None: the default for this many threads.
        prior: See `assemble_few_shot`.
        progress: Called with (measurements done, planned so far).

    Raises:
        ProfileError: Too few networks, or ONNX Runtime cannot run them, or a fit that makes no
            sense.
    """
    plan = plan_few_shot(space, vocabulary, block_ids, nets=nets, seed=seed)
    runtime = this_runtime(threads=threads, batch=batch)
    protocol = protocol or protocol_for(runtime)
    measured = measure_graphs(plan.graphs, runtime=runtime, protocol=protocol, seed=seed,
                              progress=progress)
    return assemble_few_shot(space, vocabulary, block_ids, plan, measured, device=host_device(),
                             runtime=runtime, protocol=protocol, seed=seed, prior=prior)
