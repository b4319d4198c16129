"""The use-case of `nas export`, and the last step of a search: a validated network → a bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hardware_profiles.profile import HardwareProfile
from nas.core.arch import Arch
from nas.core.costs import UNITS
from nas.core.errors import InputError
from nas.core.protocols import Task
from nas.core.trial import Outcome
from nas.export.bundle import write_bundle
from nas.export.manifest import MANIFEST, read_manifest
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.latency_note import latency_note
from nas.pipeline.run_dir import RunDir
from nas.pipeline.trained import networks, weights_line
from nas.search.ledger import read_ledger


@dataclass(frozen=True, slots=True)
class Bundle:
    """An exported network: its folder, test metrics and largest difference of ONNX from torch."""

    folder: Path
    test: Mapping[str, float]
    max_abs_diff: float


def export_subnet(run_dir: Path, *, digest: str, out: Path | None = None,
                  watch: Watcher = silent) -> Bundle:
    """Exports a network that a run has validated.

    Args:
        run_dir: Of a finished or stopped search.
        digest: Of one of its networks.
        out: The bundle folder to make; `run_dir`/`digest` if absent.
        watch: Is told of each step.

    Raises:
        InputError: No such run or network, or the output folder exists.
        ExportError: The exported network does not pass its checks.
    """
    run, config, profile = RunDir.open(run_dir)
    supernet = load_supernet(config.supernet)
    storage, study_name = run.ledger(config)
    ledger = read_ledger(storage, space=supernet.space, objectives=config.objective_values(),
                         study_name=study_name)
    for outcome in ledger.outcomes():
        if outcome.trial.arch.digest == digest and outcome.final:
            return export_network(networks(config, supernet, run_dir), supernet.task, outcome,
                                  out or run_dir / digest, config, profile, watch=watch)
    raise InputError(f"{run_dir} has no validated network {digest!r}; see the digests in "
                     f"{run.pareto}")


def finished_bundle(folder: Path, digest: str) -> Bundle | None:
    """Returns the bundle that an earlier run of the same search has left, or None.

    Raises:
        InputError: The folder holds another network.
        ExportError: The folder's manifest is damaged.
    """
    if not folder.exists():
        return None
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise InputError(f"{folder} is no bundle ({error.strerror}); move it away") from None
    if manifest.arch_digest != digest:
        raise InputError(f"{folder} holds network {manifest.arch_digest}, not {digest}; move it "
                         "away")
    test = {name.removeprefix("test_"): value for name, value in manifest.metrics.items()
            if name.startswith("test_")}
    return Bundle(folder, test, manifest.parity.max_abs_diff)


def export_network(network: Callable[[Arch], nn.Module], task: Task, outcome: Outcome,
                   folder: Path, config: SearchConfig, profile: HardwareProfile, *,
                   watch: Watcher) -> Bundle:
    """Tests a network on the split that no search saw, and writes its bundle.

    Args:
        network: Gives the network as it was validated.
        task: Of the network.
        outcome: Of its validation.
        folder: Of the bundle, to be made.
        config: Of the search.
        profile: That it was scored with.
        watch: Is told of each step.

    Raises:
        ExportError: The exported network does not pass its checks.
    """
    arch = outcome.trial.arch
    watch(Event("export", 0, 2, "testing"))
    module = network(arch)
    test = task.metrics(module, task.batches("test"))
    watch(Event("export", 1, 2, "ONNX"))
    metrics = {**outcome.metrics, **{f"test_{name}": value for name, value in test.items()}}
    manifest = write_bundle(
        folder, arch=arch, module=module, task=task, metrics=metrics,
        costs={name: int(outcome.metrics[name]) for name in UNITS},
        provenance={"supernet": config.supernet, "weights": weights_line(config),
                    "device": config.device,
                    "latency": f"{profile.kind}, {latency_note(profile)}",
                    "latency_profile": profile.id, "seed": str(config.seed)})
    watch(Event("export", 2, 2))
    return Bundle(folder, test, manifest.parity.max_abs_diff)
