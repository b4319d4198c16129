"""The use-case of `nas export`, and the last step of a search: a validated network → a bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import nn

from hardware_profiles.profile import HardwareProfile
from nas.core.arch import Arch
from nas.core.costs import UNITS
from nas.core.errors import InputError
from nas.core.protocols import Quality, Supernet, Task, quality_of, signature_of
from nas.core.trial import Outcome
from nas.export.bundle import write_bundle
from nas.export.example import add_wav_example
from nas.export.features import add_features
from nas.export.manifest import ARCH, MANIFEST, WEIGHTS, Manifest, read_manifest
from nas.export.opened import OpenedBundle, open_bundle
from nas.pipeline.compose import searched_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.extras import Extras as Extras
from nas.pipeline.generator import with_generator
from nas.pipeline.int8 import quantise
from nas.pipeline.latency_note import latency_note
from nas.pipeline.report import write_report
from nas.pipeline.run_dir import RunDir
from nas.pipeline.trained import networks, weights_line
from nas.search.ledger import read_ledger


@dataclass(frozen=True, slots=True)
class Bundle:
    """An exported network: its folder and manifest, and what its error is."""

    folder: Path
    manifest: Manifest
    quality: Quality = field(default_factory=Quality)

    @property
    def test(self) -> Mapping[str, float]:
        """Metrics of the test split."""
        return {name.removeprefix("test_"): value for name, value in self.manifest.metrics.items()
                if name.startswith("test_")}

    @property
    def max_abs_diff(self) -> float:
        """Largest difference of ONNX Runtime's logits from torch's."""
        return self.manifest.parity.max_abs_diff

    @property
    def finetuned(self) -> Mapping[str, Any] | None:
        """How the network was trained after the search, as JSON values; None: it was not."""
        entry = self.manifest.finetuned
        return None if entry is None else entry.model_dump()

    @property
    def payload(self) -> dict[str, Any]:
        """What ``nas export --json`` prints."""
        manifest = self.manifest
        more = {"int8": manifest.int8, "features": manifest.features, "example": manifest.example}
        return {"bundle": str(self.folder), "digest": manifest.arch_digest,
                "test": dict(self.test), "onnx_max_abs_diff": self.max_abs_diff,
                **{name: entry.model_dump(mode="json") for name, entry in more.items()
                   if entry is not None}}


def export_subnet(run_dir: Path, *, digest: str | None = None, out: Path | None = None,
                  extras: Extras | None = None, watch: Watcher = silent) -> Bundle:
    """Exports a network that a run has validated, or adds to a bundle of it.

    Without a digest it is the winner, whose bundle the search has left in ``best``: extras are
    added there. So they are to any bundle that is there already; without extras it is left alone.

    Args:
        run_dir: Of a finished or stopped search.
        digest: Of one of its networks.
        out: The bundle folder to make for a digest; `run_dir`/`digest` if absent.
        extras: What to add to the bundle.
        watch: Is told of each step.

    Raises:
        InputError: No such run or network, the output folder exists and there is nothing to add,
            or a network that gives no feature maps.
        DataError: Images to calibrate with that are missing or do not fit.
        ExportError: The exported network does not pass its checks.
    """
    run, config, profile = RunDir.open(run_dir)
    extras = extras or Extras()
    if digest is None:
        if out is not None:
            raise InputError("--out is for the network of a --digest; give both, or none for the "
                             f"winner in {run.best}")
        digest, out = winner(run, extras), run.best
    folder = out or run_dir / digest
    supernet = searched_supernet(config, watch=watch)
    bundle = finished_bundle(folder, digest) if extras.any else None
    if bundle is None:
        outcome = _validated(run, config, supernet, digest)
        bundle = export_network(networks(config, supernet, run_dir), supernet.task, outcome, folder,
                                config, profile, watch=watch)
    with_generator(folder, supernet, watch=watch)
    if extras.any:
        _add(open_bundle(folder), supernet, config, extras, watch)
        if folder == run.best and run.pareto.exists():
            write_report(run.path)
    return Bundle(folder, open_bundle(folder).manifest, quality_of(supernet.task))


def winner(run: RunDir, extras: Extras) -> str:
    """Returns the digest of the network that a search has exported, to whose bundle to add.

    Raises:
        InputError: There is none yet, or nothing to add.
    """
    if not run.best.exists():
        raise InputError(f"{run.path} has exported nothing yet; go on with: nas search --resume "
                         f"{run.path}, or give the --digest of a validated network")
    if not extras.any:
        raise InputError(f"{run.best} is the bundle of the winner; give --digest for another "
                         "network, or --precision int8, --features or --example for more files in "
                         "it")
    return open_bundle(run.best).manifest.arch_digest


def _validated(run: RunDir, config: SearchConfig, supernet: Supernet, digest: str) -> Outcome:
    storage, study_name = run.ledger(config)
    ledger = read_ledger(storage, space=supernet.space, objectives=config.objective_values(),
                         study_name=study_name)
    for outcome in ledger.outcomes():
        if outcome.trial.arch.digest == digest and outcome.final:
            return outcome
    raise InputError(f"{run.path} has no validated network {digest!r}; see the digests in "
                     f"{run.pareto}")


def _add(bundle: OpenedBundle, supernet: Supernet, config: SearchConfig, extras: Extras,
         watch: Watcher) -> None:
    if extras.example:
        add_wav_example(bundle, signature_of(supernet.task))
        bundle = open_bundle(bundle.folder)
        watch(Event("example", 1, 1))
    if extras.int8:
        quantise(bundle, supernet.task, config, calibration=extras.calibration, watch=watch)
        bundle = open_bundle(bundle.folder)
    if extras.features:
        module = supernet.extract(Arch.from_json(bundle.files[ARCH].decode(),
                                                 space=supernet.space))
        module.load_state_dict(load(bundle.files[WEIGHTS]))
        add_features(bundle, module, task=supernet.task, indices=extras.indices)
        watch(Event("features", 1, 1))


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
    return Bundle(folder, manifest)


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
    return Bundle(folder, manifest)
