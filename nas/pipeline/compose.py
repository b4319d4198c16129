"""From a configuration to the objects that do the work: the one place that joins packages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hardware_profiles.few_shot_host import run_few_shot
from hardware_profiles.host import HostConfig
from hardware_profiles.host_run import run_host
from hardware_profiles.identity import generator_hash, require_key, require_space
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.store import user_store
from nas.core.arch import Arch
from nas.core.problem import Problem
from nas.core.protocols import CostModel, Evaluator, Executor, Searcher, Supernet
from nas.core.registry import made
from nas.core.resources import Resources
from nas.evaluation.cascade import Cascade
from nas.evaluation.costs import CostMetrics
from nas.evaluation.first_images import FirstImages
from nas.evaluation.halving import Halving
from nas.evaluation.inherited import InheritedEvaluator
from nas.evaluation.learned_exits import LearnedExits
from nas.execution.process import usable_cores
from nas.execution.registry import EXECUTORS
from nas.pipeline.clip_length import at_length, real_time_models
from nas.pipeline.config import SearchConfig
from nas.pipeline.design import Design, require_trained
from nas.pipeline.device import torch_device
from nas.pipeline.devices import HOST
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.gate import compose_gate
from nas.pipeline.generation import with_quality
from nas.pipeline.key_values import key_value_models
from nas.pipeline.knowledge import (
    bound_excess,
    code_features,
    known_objectives,
    make_predictor,
)
from nas.pipeline.metrics import METRICS
from nas.pipeline.screening import (
    check_bounds,
    check_searcher,
    cost_stages,
    count_models,
    energy_models,
    host_config,
    known_profile,
    latency_table,
    profile_key,
)
from nas.pipeline.speech import on_clips
from nas.pipeline.trained import inherited_networks, trained_evaluator
from nas.search.factory import make_searcher
from nas.search.sharing import Joining
from supernets.folder import CARD, load_folder
from supernets.registry import SUPERNETS

CASCADE_SHARE = 0.2  # of the images that each network is validated on first


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What one search runs with; `ask` is how many trials its searcher is asked for at once."""

    supernet: Supernet
    profile: HardwareProfile
    problem: Problem
    gate: LearnedExits | None
    searcher: Searcher
    executor: Executor
    evaluate: Evaluator
    network: Callable[[Arch], nn.Module]
    ask: int


def compose(config: SearchConfig, *, watch: Watcher,
            profile: HardwareProfile | None = None, supernet: Supernet | None = None,
            run_dir: Path | None = None) -> Parts:
    """Returns the parts of a search; measures the device's profile where none is stored.

    Args:
        config: What is asked for.
        watch: Is told of measuring.
        profile: The profile of a run that is resumed; the stored or a new one if absent.
        supernet: The configuration's, where it has been loaded already.
        run_dir: Where trained networks are kept; the configuration's `out` if absent.

    Raises:
        InputError: A name that is unknown, constraints that nothing meets, or a profile of
            another device, runtime or space.
    """
    check_searcher(config.searcher)
    executor_type = EXECUTORS.get(config.executor).resolve()
    supernet = searched_supernet(config, watch=watch) if supernet is None else supernet
    if profile is None:
        profile = device_profile(config, supernet, watch=watch)
    else:
        _require_fit(profile, config, supernet)
    models = _cost_models(config, supernet, profile)
    stages = cost_stages(config.constraints(), models)
    check_bounds(stages, supernet.space, config.seed)
    gate = compose_gate(config, supernet, models)
    problem = Problem(
        space=supernet.space, objectives=config.objective_values(), screen=Cascade(stages),
        seed=config.seed, gate=gate, known=known_objectives(models, config.objectives),
        features=code_features(supernet.space, models), predictor=make_predictor,
        excess=bound_excess(stages))
    costs = [name for name in METRICS if any(name in model.metrics for model in models)]
    inherited = InheritedEvaluator(supernet, cost_models=models, metrics=costs)
    evaluate: Evaluator = inherited
    network = inherited_networks(supernet)
    if config.evaluation == "trained":
        trained = trained_evaluator(config, supernet, run_dir or config.out or Path(),
                                    costs=CostMetrics(supernet.space, models, costs))
        evaluate, network = trained, trained.network
    searcher = make_searcher(config.searcher, problem, budget=config.budget,
                             options=config.searcher_options)
    executor: Executor = made("executor", config.executor, ("run", "close"),
                              lambda: executor_type(resources(config)))
    ask = config.ask
    if config.cascade:
        executor = Halving(executor, FirstImages(inherited, share=CASCADE_SHARE),
                           objectives=problem.objectives, known=problem.known)
        ask *= executor.eta  # so that as many full validations come of a batch
    return Parts(supernet=supernet, profile=profile, problem=problem, gate=gate,
                 searcher=searcher, executor=executor, evaluate=evaluate,
                 network=network, ask=ask)


def _require_fit(profile: HardwareProfile, config: SearchConfig, supernet: Supernet) -> None:
    if config.device == HOST:
        require_key(profile, profile_key(config, supernet),
                    remedy="resume where the search was started, or start a new one")
    else:
        require_space(profile, space=supernet.space.id,
                      generator=generator_hash(supernet.space, supernet.vocabulary))


def _cost_models(config: SearchConfig, supernet: Supernet,
                 profile: HardwareProfile) -> Sequence[CostModel]:
    latency = latency_table(supernet, profile)
    return (latency, count_models(supernet),
            *real_time_models(supernet, config, latency=latency),
            *key_value_models(supernet, config), *energy_models(config, supernet, profile))


def joining(config: SearchConfig) -> Joining | None:
    """Returns how the search shares its study with other processes; None: it does not."""
    if not config.join:
        return None
    return Joining(workers=1 if config.executor == "serial" else config.workers or usable_cores())


def resources(config: SearchConfig) -> Resources:
    """Returns what the configuration gives an executor."""
    return Resources(workers=config.workers, gpus_per_trial=config.gpus_per_trial,
                     address=config.ray_address, attempts=config.attempts)


def searched_supernet(config: SearchConfig, *, watch: Watcher = silent) -> Supernet:
    """Returns the supernet of a search, validated on what the configuration says.

    Raises:
        InputError: There is none of that name, or an option that it has no use for.
        DataError: Clips of speech that cannot be used.
    """
    supernet = on_clips(load_supernet(config.supernet), config, watch=watch)
    return with_quality(at_length(supernet, config), config)


def load_supernet(name: str) -> Supernet:
    """Returns a supernet by folder, registered name or ``module:factory``, on the GPU if any.

    A factory is called with the keyword `device`, a torch.device.

    Raises:
        InputError: There is none of that name.
    """
    folder = Path(name)
    if (folder / CARD).is_file() or (folder.is_dir() and "/" in name):
        return load_folder(folder, device=torch_device())
    require_trained(name)
    factory = SUPERNETS.get(name).resolve()
    supernet: Supernet = made("supernet", name, ("space", "task", "vocabulary", "extract"),
                               lambda: factory(device=torch_device()))
    return supernet


def device_profile(config: SearchConfig, supernet: Supernet, *,
                   watch: Watcher) -> HardwareProfile:
    """Returns the best profile of a search's device; measures this machine if it has none.

    Raises:
        InputError: An unknown device; see `nas.pipeline.devices.foreign_profile`.
    """
    # A search must not end here because the machine is busy: the profile says so where it matters.
    return known_profile(config, supernet) or measure_host(
        supernet, config=host_config(config), keep_doubtful=True, watch=watch)


def measure_host(supernet: Supernet | Design, *, config: HostConfig, keep_doubtful: bool,
                 watch: Watcher) -> HardwareProfile:
    """Measures this machine and stores its profile, going on with passes that were kept.

    Raises:
        MeasurementError: The measurement cannot be trusted, and `keep_doubtful` is false.
        ProfileError: The profile could not be stored; nothing has been measured then.
    """
    note = ""

    def notice(text: str) -> None:
        nonlocal note
        note = text

    return run_host(
        user_store(), supernet.space, supernet.vocabulary, supernet.block_ids, seed=0,
        config=config.fewer_of(supernet.space), keep_doubtful=keep_doubtful, notice=notice,
        progress=lambda done, total: watch(Event("profile", done, total, note)))


def measure_few_shot(supernet: Supernet | Design, *, nets: int, config: HostConfig,
                     keep_doubtful: bool, watch: Watcher) -> HardwareProfile:
    """Measures a few whole networks on this machine and stores the few-shot profile.

    Raises:
        MeasurementError: The measurement cannot be trusted, and `keep_doubtful` is false.
        ProfileError: Too few networks, or the profile could not be stored.
    """
    return run_few_shot(
        user_store(), supernet.space, supernet.vocabulary, supernet.block_ids, nets=nets, seed=0,
        config=config, keep_doubtful=keep_doubtful,
        progress=lambda done, total: watch(Event("profile", done, total)))
