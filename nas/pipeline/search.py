"""The use-case of `nas search`: a frozen configuration → a run folder with the chosen network."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardware_profiles.measure import measure_file
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes
from nas.core.errors import EvaluationError, InputError
from nas.core.files import replace_file, sha256
from nas.core.problem import Objective
from nas.core.protocols import Quality, quality_of
from nas.core.trial import Outcome
from nas.evaluation.halving import Halving
from nas.evaluation.trained import TrainedEvaluator
from nas.pipeline.compose import Parts, compose, joining
from nas.pipeline.config import SearchConfig, make_config
from nas.pipeline.device import one_thread
from nas.pipeline.devices import HOST
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.export import Bundle, export_network, finished_bundle
from nas.pipeline.front import count_outcomes, pareto_front, whole_cost
from nas.pipeline.generation import draw_samples, makes_images
from nas.pipeline.generation_latency import generation_ms
from nas.pipeline.generator import with_generator
from nas.pipeline.going_on import says_how_to_go_on
from nas.pipeline.latency_note import free_sizes, latency_note, place
from nas.pipeline.picture import draw_front
from nas.pipeline.report import write_report
from nas.pipeline.result import SearchResult
from nas.pipeline.run_dir import RunDir
from nas.search.driver import drive
from nas.search.ledger import open_ledger
from nas.search.stopping import StopRule, any_of, patience, target, time_limit
from supernets.tasks.probed_speech import ProbedSpeech

VERSIONS = ("nas-service", "torch", "timm", "optuna", "onnx", "onnxruntime", "numpy")


def run_search(config: SearchConfig, *, watch: Watcher = silent) -> SearchResult:
    """Runs a search from its beginning.

    Raises:
        InputError: A configuration that cannot work; then no folder is made.
        RunInterrupted: Ctrl-C; the message has the command that goes on.
        DiskError: A file cannot be written; the message has the command that goes on.
        NasError: No network could be validated or exported.
    """
    started = time.monotonic()
    config = config.model_copy(update={"out": RunDir.new_path(config)})
    parts = compose(config, watch=watch)
    run = RunDir.create(config, parts.profile)
    with run.held():
        return _search(run, config, parts, watch, started)


def resume_search(run_dir: Path, *, watch: Watcher = silent,
                  execution: Mapping[str, Any] | None = None) -> SearchResult:
    """Goes on with a stopped search; the result is that of one never stopped.

    A search that stopped early, as it was told to, has no more to do: its results come at once.

    Args:
        run_dir: Its folder.
        watch: Is told of every step.
        execution: Where trials run from now on, if not as before: values of
            `nas.pipeline.config.EXECUTION`.

    Raises:
        InputError: No run folder, one that another process searches in, or one whose files are
            not those of one search: the message says which differs.
    """
    started = time.monotonic()
    run, config, profile = RunDir.open(run_dir)
    if config.compare:
        raise InputError(f"{run_dir} holds a comparison of searchers, not one search")
    config = make_config({**config.model_dump(), **(execution or {})})
    with run.held():
        parts = compose(config, watch=watch, profile=profile, run_dir=run.path)
        return _search(run, config, parts, watch, started)


def _search(run: RunDir, config: SearchConfig, parts: Parts, watch: Watcher,
            started: float) -> SearchResult:
    finished: list[Outcome] = []

    def on_outcome(outcome: Outcome) -> None:
        finished.append(outcome)
        watch(Event("search", whole_cost(finished), config.budget,
                    _note(outcome, quality_of(parts.supernet.task)),
                    trial_values(outcome, counts=_counts(parts, finished))))

    storage, study_name = run.ledger(config)
    with (says_how_to_go_on(run.path, lambda: f"{whole_cost(finished)} of {config.budget} "
                                              "validations"),
          one_thread(), closing(parts.executor)):
        ledger = open_ledger(storage, space=parts.problem.space, study_name=study_name,
                             objectives=parts.problem.objectives,
                             identity={**config.identity(), **inputs(parts)})
        outcomes = drive(parts.searcher, parts.executor, parts.evaluate, ledger,
                         budget=config.budget, batch_size=parts.ask, gate=parts.gate,
                         stop=stop_rule(config, time.monotonic), join=joining(config),
                         on_outcome=on_outcome)
        stopped = ledger.stopped.reason if ledger.stopped else None
        if stopped:
            watch(Event("search", whole_cost(finished), config.budget, f"stopped: {stopped}"))
        return _conclude(run, config, parts, outcomes, stopped, watch, started)


def stop_rule(config: SearchConfig, clock: Callable[[], float]) -> StopRule:
    """Returns when a search is to stop before its budget; a time limit counts from now."""
    rules: list[StopRule] = []
    if config.stop_at:
        rules.append(target(config.stop_at))
    if config.patience:
        rules.append(patience(config.patience, config.objective_values()))
    if config.time_limit:
        rules.append(time_limit(config.time_limit, clock))
    return any_of(*rules)


def _conclude(run: RunDir, config: SearchConfig, parts: Parts, outcomes: Sequence[Outcome],
              stopped: str | None, watch: Watcher, started: float) -> SearchResult:
    # The front, the winner's bundle and the files that show them; pareto.json comes last.
    front = validated_front(parts.problem.objectives, outcomes)
    best = front[0]
    draw_samples(run, parts.supernet, front)
    bundle = (finished_bundle(run.best, best.trial.arch.digest)
              or export_network(parts.network, parts.supernet.task, best, run.best, config,
                                parts.profile, watch=watch))
    with_generator(run.best, parts.supernet, watch=watch)
    payload = _payload(run, config, parts, outcomes, front, best, bundle)
    payload["stopped"] = stopped
    payload["wall_s"] = round(time.monotonic() - started, 2)
    draw_front([o for o in outcomes if o.final], front, best, parts.problem.objectives, run.picture,
               title=f"{config.supernet} on {place(parts.profile)}",
               quality=quality_of(parts.supernet.task))
    replace_file(run.pareto, (json.dumps(payload, indent=1) + "\n").encode())
    write_report(run.path)
    return SearchResult(run.path, payload)


def inputs(parts: Parts) -> dict[str, str]:
    """Returns digests of what a run only refers to: a resumed one must work with the same."""
    found = {"profile": sha256(profile_bytes(parts.profile))[:12]}
    if isinstance(parts.supernet, nn.Module):
        digest = hashlib.sha256()
        for name, tensor in sorted(parts.supernet.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().reshape(-1).contiguous()
            digest.update(flat.view(torch.uint8).numpy().data)
        found["weights"] = digest.hexdigest()[:12]
    task = parts.supernet.task
    if isinstance(task, ProbedSpeech):
        found["clips"] = task.identity
    if isinstance(parts.evaluate, TrainedEvaluator):
        found["training"] = parts.evaluate.identity
    return found


def validated_front(objectives: Sequence[Objective], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the Pareto front.

    Raises:
        EvaluationError: Every trial failed.
    """
    front = pareto_front(objectives, outcomes)
    if not front:
        reason = outcomes[0].error if outcomes else "none was proposed"
        raise EvaluationError(f"no network could be validated; the first failed with: {reason}")
    return front


def _note(outcome: Outcome, quality: Quality) -> str:
    if not outcome.ok:
        return f"failed: {outcome.error}"
    how = "" if outcome.final else f" on a part of the {quality.inputs}"
    return (f"{quality.name} {quality.shown(outcome.metrics['error'])}{how}, "
            f"{outcome.metrics['latency_ms']:.3f} ms")


def trial_values(outcome: Outcome, **more: Any) -> dict[str, Any]:
    """Returns what came of a trial as JSON values, for `nas.pipeline.events.Event`.

    Args:
        outcome: Of the trial.
        more: JSON values to go with it, such as the counts of the search so far.
    """
    return {"id": outcome.trial.id, **_point(outcome), "final": outcome.final,
            "error": outcome.error, **more}


def _counts(parts: Parts, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    exits = dict(parts.searcher.counts)
    return {"sampled": exits.pop("sampled"), "early_exits": exits, **count_outcomes(outcomes)}


def _payload(run: RunDir, config: SearchConfig, parts: Parts, outcomes: Sequence[Outcome],
             front: Sequence[Outcome], best: Outcome, bundle: Bundle) -> dict[str, Any]:
    # Only this machine can be asked what the exported file really takes.
    measured_ms = measured_latency(bundle, parts) if config.device == HOST else None
    return {
        "run_dir": str(run.path),
        "supernet": config.supernet,
        "space_size": parts.problem.space.size,
        "searcher": config.searcher,
        "seed": config.seed,
        "device": device_facts(parts.profile),
        "quality": asdict(quality_of(parts.supernet.task)),
        "counts": _counts(parts, outcomes),
        "learned_exits": parts.gate.report() if parts.gate else [],
        "cascade": (parts.executor.report() if isinstance(parts.executor, Halving) else None),
        "pareto": [_point(outcome) for outcome in front],
        "best": {**_point(best), "test": dict(bundle.test),
                 "measured_latency_ms": measured_ms, "onnx": "best/model.onnx",
                 "onnx_max_abs_diff": bundle.max_abs_diff, "finetuned": bundle.finetuned},
        "versions": versions(),
    }


def measured_latency(bundle: Bundle, parts: Parts) -> float:
    """Returns what the exported network takes on this machine, in ms.

    Of one that makes images it is the generation of one, with guidance.
    """
    runtime = parts.profile.runtime
    if makes_images(parts.supernet.task):
        return generation_ms(bundle.folder, threads=runtime.threads)
    return measure_file(bundle.folder / "model.onnx", runtime,
                        sizes=free_sizes(parts.supernet.task)).latency_ms


def _point(outcome: Outcome) -> dict[str, Any]:
    arch = outcome.trial.arch
    return {"digest": arch.digest, "arch": arch.as_dict(), "metrics": dict(outcome.metrics)}


def device_facts(profile: HardwareProfile) -> dict[str, Any]:
    """Returns what a result says of its device: JSON values."""
    return {"id": profile.device.id, "kind": profile.kind, "statistic": profile.statistic,
            "note": latency_note(profile)}


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a result depends on."""
    return {name: version(name) for name in VERSIONS}
