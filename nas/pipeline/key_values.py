"""Key-value caches as a cost of a search, of supernets whose networks make images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.core.errors import ConstraintError, InputError
from nas.core.protocols import CostModel, Supernet
from nas.pipeline.metrics import BOUND_UNITS
from supernets.var.image_supernet import ImageSupernet
from supernets.var.kv_cost import METRIC, KeyValueCosts

if TYPE_CHECKING:
    from nas.pipeline.config import SearchConfig


def key_value_models(supernet: Supernet, config: "SearchConfig") -> Sequence[CostModel]:
    """Returns the cost model of key-value caches, or none where networks have no such caches.

    Raises:
        InputError: They are asked for, and there are none.
        ConstraintError: The smallest subnet's are over the bound.
    """
    found: object = supernet
    if isinstance(found, ImageSupernet):
        costs = KeyValueCosts(found.net.config)
        _check_bound(found, costs, config.max_kv_mb)
        return (costs,)
    for option, asked in (("--objectives", METRIC in config.objectives),
                          ("--stop-at", METRIC in config.stop_at),
                          ("--max-kv-mb", config.max_kv_mb is not None)):
        if asked:
            raise InputError(f"{option}: {METRIC} are the key-value caches of a generation, which "
                             f"networks of {config.supernet} have not; drop it")
    return ()


def _check_bound(supernet: ImageSupernet, costs: KeyValueCosts, bound: float | None) -> None:
    smallest = supernet.space.encode([supernet.space.extreme(largest=False)])
    least = float(costs.predict(METRIC, smallest).value[0]) / BOUND_UNITS["max_kv_mb"]
    if bound is not None and bound < least:
        raise ConstraintError(f"--max-kv-mb {bound:g} is under the {least:.6g} MB of the smallest "
                              f"subnet of {supernet.space.id}; allow more")
