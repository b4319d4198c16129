"""What is known of a search before a network is loaded: names, profiles, bounds that nothing meets.

`nas.pipeline.compose` uses it with a supernet, `nas.pipeline.precheck` with its design alone.
"""

from collections.abc import Sequence

from hardware_profiles.energy import METRIC as ENERGY
from hardware_profiles.energy import EnergyTable
from hardware_profiles.host import HostConfig, host_key
from hardware_profiles.identity import ProfileKey
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import user_store
from hardware_profiles.table import LatencyTable
from nas.core.costs import ClosedFormCosts
from nas.core.problem import Constraint
from nas.core.protocols import CostModel, Supernet
from nas.core.registry import resolve
from nas.core.rng import derive_rng
from nas.core.space import SearchSpace
from nas.evaluation.cascade import CostStage, check_feasible
from nas.evaluation.costs import model_of
from nas.pipeline.config import SearchConfig
from nas.pipeline.design import Design
from nas.pipeline.devices import HOST, foreign_profile
from nas.search.registry import SEARCHERS


def check_searcher(name: str) -> None:
    """Finds out before anything is loaded or measured whether there is such a searcher.

    Raises:
        InputError: There is none.
    """
    if name.startswith("optuna:"):
        resolve(name.removeprefix("optuna:"))
    else:
        SEARCHERS.get(name).resolve()


def host_config(config: SearchConfig) -> HostConfig:
    """Returns how latency is taken on this machine."""
    return HostConfig(threads=config.threads, precision=config.precision or "fp32",
                      batch=config.batch or 1)


def profile_key(config: SearchConfig, made: Supernet | Design) -> ProfileKey:
    """Returns the key of this machine's profile."""
    here = host_config(config)
    return host_key(made.space, made.vocabulary, threads=here.threads, batch=here.batch,
                    precision=here.precision)


def known_profile(config: SearchConfig, made: Supernet | Design) -> HardwareProfile | None:
    """Returns the best profile of a search's device; None: this machine is still to be measured.

    Raises:
        InputError: An unknown device; see `nas.pipeline.devices.foreign_profile`.
    """
    if config.device == HOST:
        return user_store().find(profile_key(config, made))
    return foreign_profile(config.device, made, threads=config.threads,
                           precision=config.precision, batch=config.batch,
                           require_measured=config.require_measured)


def latency_table(made: Supernet | Design, profile: HardwareProfile) -> LatencyTable:
    """Returns the cost model of latency."""
    return LatencyTable(profile, made.vocabulary, made.block_ids)


def count_models(made: Supernet | Design) -> ClosedFormCosts:
    """Returns the cost model of what is counted."""
    return ClosedFormCosts(made.vocabulary, made.block_ids)


def energy_models(config: SearchConfig, made: Supernet | Design,
                  profile: HardwareProfile) -> Sequence[CostModel]:
    """Returns the cost model of energy, or none where it is no objective."""
    if ENERGY not in config.objectives:
        return ()
    return (EnergyTable(profile, made.vocabulary, made.block_ids),)


def cost_stages(bounds: Sequence[Constraint], models: Sequence[CostModel]) -> list[CostStage]:
    """Returns the early exits of bounds.

    Raises:
        InputError: A bound on a metric that no model gives.
    """
    stages = [CostStage(bound, model_of(bound.metric, models)) for bound in bounds]
    # Cheapest first: a sum of integers costs no more than a table look-up, and needs no device.
    stages.sort(key=lambda stage: stage.constraint.metric in ("latency_ms", "rtf"))
    return stages


def check_bounds(stages: Sequence[CostStage], space: SearchSpace, seed: int) -> None:
    """Passes if some network meets all bounds, as far as random draws can tell.

    Raises:
        ConstraintError: None does.
    """
    check_feasible(stages, space, derive_rng(seed, "feasibility"))
