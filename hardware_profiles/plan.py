"""What a profile measures: an empty graph, every block of a space, and some whole networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.calibrate import MIN_NETS
from hardware_profiles.onnx_blocks import empty_graph
from nas.core.blocks import Block, BlockGraph, chain
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import IntArray

EMPTY = "empty graph"

_MAX_DRAWS = 100  # batches of random networks before a space is found too small


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurePlan:
    """The graphs to be timed, by key, and what the whole networks among them are.

    Attributes:
        graphs: `EMPTY`, each block by its own key, each network by `network_key`.
        codes: Of the networks, (N, genes).
        ids: Their block ids, (N, slots), −1 where a slot is empty.
        calib_nets: The first so many are fitted on, the others held out.
    """

    graphs: Mapping[str, BlockGraph]
    codes: IntArray
    ids: IntArray
    calib_nets: int


def plan_profile(space: GeneSpace, vocabulary: Sequence[Block],
                 block_ids: Callable[[IntArray], IntArray], *, calib_nets: int, test_nets: int,
                 seed: int) -> MeasurePlan:
    """Returns what a full profile of a space measures.

    Args:
        space: The search space.
        vocabulary: Its distinct blocks.
        block_ids: Codes (N, genes) → vocabulary ids (N, slots), −1 where a slot is empty.
        calib_nets: Whole networks to fit on.
        test_nets: Whole networks to hold out.
        seed: Of the networks drawn.

    Raises:
        ProfileError: The space has too few networks.
    """
    codes = draw_networks(space, calib_nets + test_nets, seed)
    return plan_of(codes, vocabulary, block_ids, calib_nets=calib_nets)


def plan_of(codes: IntArray, vocabulary: Sequence[Block],
            block_ids: Callable[[IntArray], IntArray], *, calib_nets: int) -> MeasurePlan:
    """Returns the plan that measures every block and these networks, codes (N, genes)."""
    ids = block_ids(codes)
    graphs = {EMPTY: empty_graph((8,)), **{block.key: block.graph for block in vocabulary}}
    graphs |= {network_key(row): chain([vocabulary[i] for i in slots if i >= 0])
               for row, slots in enumerate(ids)}
    return MeasurePlan(graphs=graphs, codes=codes, ids=ids, calib_nets=calib_nets)


def draw_networks(space: GeneSpace, count: int, seed: int) -> IntArray:
    """Returns codes (count, genes) of distinct networks: the extremes, so that a fit spans the
    space, then random ones.

    Raises:
        ProfileError: The space has too few.
    """
    rng = derive_rng(seed, "calibration networks")
    found = {tuple(row): None for row in space.encode(
        [space.extreme(largest=False), space.extreme(largest=True)]).tolist()}
    for _ in range(_MAX_DRAWS):
        if len(found) >= count:
            return np.array(list(found)[:count], dtype=np.int16)
        found |= dict.fromkeys(map(tuple, space.sample_codes(count, rng).tolist()))
    raise ProfileError(f"space {space.id} has too few networks to profile: {len(found)} found, "
                       f"{count} needed; ask for fewer (at least {2 * MIN_NETS})")


def network_key(row: int) -> str:
    """Returns the key of the network in a row of the codes."""
    return f"network {row}"
