"""The use-case of `nas finetune`: the exported network of a run is trained on and replaced.

In the run folder, ``finetune/`` has the training's files and then, for a moment, the new bundle.
Once that is whole, ``best/`` becomes ``best-before/`` and the new bundle ``best/``; what is killed
anywhere goes on with the same command.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load

from nas.core.arch import Arch
from nas.core.errors import DiskError, ExportError, InputError, RunInterrupted
from nas.core.files import os_error_line, replace_file, sync_folder
from nas.core.protocols import Supernet
from nas.evaluation.trained import TrainedEvaluator
from nas.export.bundle import write_bundle
from nas.export.manifest import ARCH, WEIGHTS, FinetunedEntry
from nas.export.opened import OpenedBundle, open_bundle
from nas.export.verify import verify_bundle
from nas.pipeline.compose import searched_supernet
from nas.pipeline.config import validated
from nas.pipeline.device import one_thread
from nas.pipeline.distilled import Distilled
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.report import write_report
from nas.pipeline.run_dir import RunDir
from nas.pipeline.trained import LEARNING_RATES, WARM_UP
from nas.pipeline.training_images import training_images
from supernets.training.distill import TeacherLoss
from supernets.training.plain import BATCH_SIZE
from supernets.training.recipe import Recipe

FOLDER = "finetune"
BUNDLE = "best"  # in that folder
USUAL_RATES = {"sgd": LEARNING_RATES["inherited"], "adamw": 2e-4}


class FinetuneRequest(BaseModel):
    """How to fine-tune the exported network of a run.

    Attributes:
        run_dir: Of a finished search.
        epochs: Passes over the training images.
        optimizer: ``sgd`` or ``adamw``.
        learning_rate: Peak; None: what `USUAL_RATES` has.
        batch_size: Images a step.
        seed: Of everything random.
        data: Folder of images to train on: idx files or class folders, or what `dataset` is in;
            None: the supernet's own training images, or its ``train_calib``.
        dataset: timm's name of what is in `data`; for timm supernets.
        workers: Processes that make batches, for timm supernets; None: as usual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    run_dir: Path
    epochs: int = Field(ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=BATCH_SIZE, ge=2)
    seed: int = Field(default=0, ge=0)
    data: Path | None = None
    dataset: str | None = None
    workers: int | None = Field(default=None, ge=0)


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A fine-tuned network: its bundle, that of the network before, and what changed."""

    folder: Path
    before: Path
    entry: FinetunedEntry


def make_finetune_request(values: dict[str, Any]) -> FinetuneRequest:
    """Returns the request of these values.

    Raises:
        InputError: An unknown key or a value out of range; one line.
    """
    return validated(FinetuneRequest, values)


def finetune(request: FinetuneRequest, *, watch: Watcher = silent) -> Finetuned:
    """Trains the exported network of a run with the largest one as its teacher, and exports it.

    A training that was stopped goes on from its last epoch; on a CPU it ends with the weights of
    one that was not. What has been done already is not done again.

    Raises:
        InputError: No finished search, one that was fine-tuned otherwise, or unusable images.
        EvaluationError: A loss that is not finite.
        ExportError: The new bundle does not pass its checks; the old one is as it was.
        DiskError: A file cannot be written.
        RunInterrupted: Ctrl-C.
    """
    run, config, _ = RunDir.open(request.run_dir)
    if config.compare:
        raise InputError(f"{run.path} holds a comparison of searchers, which exports nothing")
    if not run.pareto.exists():
        raise InputError(f"the search in {run.path} has not finished; go on with: nas search "
                         f"--resume {run.path}")
    with run.held(), _going_on(), one_thread():
        _settle(run)
        bundle = open_bundle(run.best)
        return _finetune(request, run, searched_supernet(config, watch=watch), bundle, watch)


def _finetune(request: FinetuneRequest, run: RunDir, supernet: Supernet, bundle: OpenedBundle,
              watch: Watcher) -> Finetuned:
    images = training_images(supernet.task, request.data, dataset=request.dataset,
                             workers=request.workers)
    teacher = supernet.space.extreme(largest=True)
    rate = request.learning_rate or USUAL_RATES[request.optimizer]
    entry = FinetunedEntry(
        epochs=request.epochs, optimizer=request.optimizer, learning_rate=rate,
        batch_size=request.batch_size, seed=request.seed, images=images.described,
        teacher=teacher.digest, before={}, after={})
    if bundle.manifest.finetuned is None:
        steps = request.epochs * images.batches(request.batch_size, 0).checked_steps_per_epoch()
        fit = Distilled(
            task=supernet.task, images=images, batch_size=request.batch_size,
            recipe=Recipe(epochs=request.epochs, optimizer=request.optimizer,
                          learning_rate=rate, warmup_epochs=WARM_UP * request.epochs),
            criterion=TeacherLoss(teacher=supernet.recalibrated(
                teacher, supernet.task.batches("train_calib"))),
            start=load(bundle.files[WEIGHTS]),
            on_step=lambda step: watch(Event("finetune", step, steps)))
        evaluator = TrainedEvaluator(supernet, fit, folder=run.path / FOLDER, seed=request.seed)
        arch = Arch.from_json(bundle.files[ARCH].decode(), space=supernet.space)
        with closing(fit):
            _export(run, bundle, arch, evaluator, entry, steps, watch)
    else:
        _require_same(run, bundle.manifest.finetuned, entry)
    return _concluded(run)


def _require_same(run: RunDir, found: FinetunedEntry, asked: FinetunedEntry) -> None:
    for name in FinetunedEntry.model_fields:
        there, here = getattr(found, name), getattr(asked, name)
        if name not in ("before", "after") and there != here:
            raise InputError(
                f"{run.best} has been fine-tuned otherwise ({name} {there!r} there, {here!r} "
                f"here); to do it anew, remove it and {run.path / FOLDER}, and rename "
                f"{run.best_before} to {run.best.name}")


def _export(run: RunDir, bundle: OpenedBundle, arch: Arch, evaluator: TrainedEvaluator,
            entry: FinetunedEntry, steps: int, watch: Watcher) -> None:
    # The training, and a bundle of what came of it in place of the old one.
    validation: Mapping[str, float] = {}
    for epoch, validation in enumerate(evaluator.epochs(arch), 1):
        shown = ", ".join(f"{name} {value:.2f}" for name, value in validation.items())
        watch(Event("finetune", steps * epoch // entry.epochs, steps, f"epoch {epoch}: {shown}"))
    watch(Event("export", 0, 2, "testing"))
    module, task, old = evaluator.network(arch), evaluator.supernet.task, bundle.manifest
    test = task.metrics(module, task.batches("test"))
    after = {**validation, **{f"test_{name}": value for name, value in test.items()}}
    watch(Event("export", 1, 2, "ONNX"))
    weights = f"{old.provenance.get('weights', 'unknown')}, fine-tuned for {entry.epochs} epochs"
    write_bundle(
        run.path / FOLDER / BUNDLE, arch=arch, module=module, task=task,
        metrics={**old.metrics, **after}, costs=old.costs.model_dump(),
        provenance={**old.provenance, "weights": weights},
        finetuned=entry.model_copy(update={
            "after": after, "before": {name: old.metrics[name] for name in after}}))
    watch(Event("export", 2, 2))
    _settle(run)


def _settle(run: RunDir) -> None:
    # Puts a new bundle in the place of the old one, wherever that was stopped.
    made = run.path / FOLDER / BUNDLE
    if not made.exists():
        return
    if run.best.exists():
        if run.best_before.exists():
            raise InputError(f"{run.best_before} is in the way of the network that is replaced; "
                             "move it away")
        run.best.rename(run.best_before)
    made.rename(run.best)
    sync_folder(run.path)


def _concluded(run: RunDir) -> Finetuned:
    # Also where it was done before: a run killed in between still has the old files.
    report = verify_bundle(run.best)
    failed = [check for check in report.checks if not check.ok]
    if failed:
        raise ExportError(f"bundle {run.best} does not pass its checks: {failed[0].name}: "
                          f"{failed[0].detail}; the network before is in {run.best_before}")
    manifest = open_bundle(run.best).manifest
    assert manifest.finetuned is not None
    payload = json.loads(run.pareto.read_bytes())
    payload["best"].update(
        test={name.removeprefix("test_"): value for name, value in manifest.metrics.items()
              if name.startswith("test_")},
        onnx_max_abs_diff=manifest.parity.max_abs_diff, finetuned=manifest.finetuned.model_dump())
    replace_file(run.pareto, (json.dumps(payload, indent=1) + "\n").encode())
    write_report(run.path)
    return Finetuned(run.best, run.best_before, manifest.finetuned)


@contextmanager
def _going_on() -> Iterator[None]:
    again = "the same command goes on after the last epoch"
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(f"fine-tuning stopped; {again}") from None
    except OSError as error:
        raise DiskError(f"{os_error_line(error)}; remedy that, and {again}") from None
