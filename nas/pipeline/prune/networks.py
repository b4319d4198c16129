"""The networks that come of it: trained, tested and exported, each once."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load
from torch import nn

from nas.core.arch import Arch
from nas.core.costs import UNITS, ClosedFormCosts
from nas.evaluation.fresh import check_can_initialise
from nas.evaluation.trained import TrainedEvaluator
from nas.export.bundle import write_bundle
from nas.export.manifest import WEIGHTS, Manifest
from nas.export.opened import open_bundle
from nas.pipeline.events import Event, Watcher
from nas.pipeline.export import finished_bundle
from nas.pipeline.prune.choosing import Pruner
from nas.pipeline.prune.folder import LABELS, TEACHER
from nas.pipeline.prune.work import Work
from supernets.training.distill import Criterion, LabelLoss, TeacherLoss


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """An exported network.

    Attributes:
        bundle: Its folder.
        manifest: Of the bundle.
        arch: Its architecture.
    """

    bundle: Path
    manifest: Manifest
    arch: Arch

    @property
    def costs(self) -> Mapping[str, int]:
        """Its parameters, multiply-adds and activation bytes."""
        return self.manifest.costs.model_dump()

    def accuracy(self, split: str) -> float:
        """Returns the share of images of ``"search"`` or ``"test"`` that it gets right, in %."""
        name = "test_error" if split == "test" else "error"
        return round(100.0 - self.manifest.metrics[name], 6)


def unpruned_network(work: Work, watch: Watcher) -> Network:
    """Returns the unpruned network; it is exported if it is not yet.

    Raises:
        ExportError: The bundle does not pass its checks.
    """
    return _exported(work, work.folder.unpruned, work.largest, work.unpruned, work.weights, watch)


def pruned_network(work: Work, name: str, arch: Arch, pruner: Callable[[], Pruner], *,
                   learnt_from: str, watch: Watcher) -> Network:
    """Returns a pruned network; it is trained and exported if it is not yet.

    Args:
        work: What is pruned.
        name: Of the method.
        arch: That it has chosen.
        pruner: Gives the method.
        learnt_from: `TEACHER` or `LABELS`.
        watch: Is told of every step.

    Raises:
        InputError: A network that cannot be trained from new weights.
        EvaluationError: A loss that is not finite, or not enough memory.
        ExportError: The bundle does not pass its checks.
        OSError: A file cannot be written.
    """
    request, folder = work.request, work.folder.training(name, learnt_from)

    def network() -> nn.Module:
        supernet, start = work.supernet, None
        if request.fresh:
            check_can_initialise(supernet.extract(arch))
        else:
            inherit = pruner().inherit
            start = None if inherit is None else inherit(arch)
        stage = f"train {name}" + (", labels alone" if learnt_from == LABELS else "")
        fit = work.fit(inherited=not request.fresh, start=start, watch=watch, stage=stage,
                       criterion=_criterion(work, learnt_from))
        evaluator = TrainedEvaluator(supernet, fit, folder=folder, seed=request.seed,
                                     from_="scratch" if request.fresh else "inherited")
        with closing(fit), work.threads():
            return evaluator.network(arch)

    start = "new weights" if request.fresh else "inherited weights"
    teacher = ", taught by the unpruned network" if learnt_from == TEACHER else ""
    return _exported(work, work.folder.bundle(name, learnt_from), arch, network,
                     f"pruned by {name}, trained for {request.epochs} epochs from {start}{teacher}",
                     watch)


def module_of(work: Work, network: Network) -> nn.Module:
    """Returns a network of a bundle: a plain module with weights of its own."""
    module = work.supernet.extract(network.arch)
    module.load_state_dict(load(open_bundle(network.bundle).files[WEIGHTS]))
    return module.eval()


def _criterion(work: Work, learnt_from: str) -> Criterion:
    if learnt_from == LABELS:
        return LabelLoss(smoothing=0.0)
    return TeacherLoss(teacher=work.unpruned())


def _exported(work: Work, folder: Path, arch: Arch, network: Callable[[], nn.Module],
              weights: str, watch: Watcher) -> Network:
    found = finished_bundle(folder, arch.digest)
    if found is not None:
        return Network(bundle=folder, manifest=found.manifest, arch=arch)
    module, task, request = network(), work.opened.task, work.request
    watch(Event("export", 0, 2, "testing"))
    metrics = {**task.metrics(module, task.batches("search")),
               **{f"test_{name}": value for name, value
                  in task.metrics(module, task.batches("test")).items()}}
    watch(Event("export", 1, 2, "ONNX"))
    manifest = write_bundle(
        folder, arch=arch, module=module, task=task, metrics=metrics, costs=_costs(work, arch),
        provenance={"model": request.model, "weights": weights, "seed": str(request.seed),
                    "space": json.dumps(work.config.model_dump(mode="json"))})
    watch(Event("export", 2, 2))
    return Network(bundle=folder, manifest=manifest, arch=arch)


def _costs(work: Work, arch: Arch) -> dict[str, int]:
    supernet = work.supernet
    model = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    code = supernet.space.encode([arch])
    return {name: int(model.predict(name, code).value[0]) for name in UNITS}

