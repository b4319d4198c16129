"""The use-case of `nas search --compare`: several searchers on one problem, side by side."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nas.core.files import replace_file
from nas.core.protocols import Executor
from nas.core.trial import Outcome
from nas.pipeline.compare_figures import compared, curves
from nas.pipeline.compare_picture import draw_comparison
from nas.pipeline.compose import Parts, compose, searched_supernet
from nas.pipeline.config import SEEDS, SearchConfig, make_config
from nas.pipeline.device import one_thread
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.going_on import says_how_to_go_on
from nas.pipeline.kept import KeptOutcomes
from nas.pipeline.latency_note import place
from nas.pipeline.result import SearchResult
from nas.pipeline.run_dir import RunDir
from nas.pipeline.screening import check_searcher
from nas.pipeline.search import device_facts, inputs, trial_values, versions
from nas.search.driver import drive
from nas.search.ledger import open_ledger

RESULT, PICTURE, VALIDATED, SEARCHES = ("compare.json", "compare.png", "validated.jsonl",
                                        "searches")


def run_comparison(config: SearchConfig, *, watch: Watcher = silent) -> SearchResult:
    """Runs each of `config.compare` with each seed; the result's payload is ``compare.json``.

    Every run has a ledger of its own in ``searches/`` and the whole budget. All are scored with
    one profile, and a network that several of them ask for is validated once.

    Raises:
        InputError: A configuration that cannot work; then no folder is made.
        RunInterrupted: Ctrl-C; the message has the command that goes on.
        DiskError: A file cannot be written; the message has the command that goes on.
    """
    started = time.monotonic()
    for name in config.compare:
        check_searcher(name)
    config = config.model_copy(update={"out": RunDir.new_path(config),
                                       "seeds": config.seeds or SEEDS})
    supernet = searched_supernet(config, watch=watch)
    parts = None
    for name in config.compare:  # each of them can be made, or nothing is
        parts = compose(_single(config, name, config.seed), watch=watch, supernet=supernet,
                        profile=parts.profile if parts else None)
    assert parts is not None
    run = RunDir.create(config, parts.profile)
    with run.held():
        return _compare(run, config, parts, watch, started)


def resume_comparison(run_dir: Path, *, watch: Watcher = silent,
                      execution: Mapping[str, Any] | None = None) -> SearchResult:
    """Goes on with a stopped comparison; the result is that of one never stopped.

    Args:
        run_dir: Its folder.
        watch: Is told of every step.
        execution: As for `nas.pipeline.search.resume_search`.

    Raises:
        InputError: See `nas.pipeline.search.resume_search`.
    """
    started = time.monotonic()
    run, config, profile = RunDir.open(run_dir)
    config = make_config({**config.model_dump(), **(execution or {})})
    with run.held():
        parts = compose(_single(config, config.compare[0], config.seed), watch=watch,
                        profile=profile)
        return _compare(run, config, parts, watch, started)


def _compare(run: RunDir, config: SearchConfig, first: Parts, watch: Watcher,
             started: float) -> SearchResult:
    runs = [(name, seed) for seed in _seeds(config) for name in config.compare]
    total = len(runs) * config.budget
    finished: list[Outcome] = []
    found: dict[str, list[Sequence[Outcome]]] = {name: [] for name in config.compare}
    executor = KeptOutcomes(first.executor, run.path / VALIDATED)
    with (says_how_to_go_on(run.path, lambda: f"{len(finished)} of {total} validations"),
          one_thread(), closing(executor)):
        for name, seed in runs:
            def on_outcome(outcome: Outcome, note: str = f"{name}, seed {seed}") -> None:
                finished.append(outcome)
                watch(Event("compare", len(finished), total, note,
                            trial_values(outcome, run=note)))

            found[name].append(_run(run, _single(config, name, seed), first, executor, watch,
                                    on_outcome))
        return _conclude(run, config, first, found, len(executor), started)


def _run(run: RunDir, config: SearchConfig, first: Parts, executor: Executor, watch: Watcher,
         on_outcome: Callable[[Outcome], None]) -> Sequence[Outcome]:
    # One search, from its ledger as far as that goes.
    parts = compose(config, watch=watch, profile=first.profile, supernet=first.supernet)
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", config.searcher)
    folder = run.path / SEARCHES / f"{slug}-{config.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(folder / "study.journal", space=parts.problem.space,
                         objectives=parts.problem.objectives,
                         identity={**config.identity(), **inputs(first)})
    return drive(parts.searcher, executor, first.evaluate, ledger, budget=config.budget,
                 batch_size=parts.ask, gate=parts.gate, on_outcome=on_outcome)


def _conclude(run: RunDir, config: SearchConfig, parts: Parts,
              found: Mapping[str, Sequence[Sequence[Outcome]]], distinct: int,
              started: float) -> SearchResult:
    measured = curves(parts.problem.objectives, found, config.budget)
    outcomes = [outcome for searches in found.values() for search in searches
                for outcome in search]
    payload = {
        "run_dir": str(run.path), "supernet": config.supernet,
        "space_size": parts.problem.space.size, "objectives": list(config.objectives),
        "device": device_facts(parts.profile), "budget": config.budget,
        "seeds": list(_seeds(config)), "searchers": compared(measured),
        "reference": dict(zip(config.objectives, measured.reference.tolist(), strict=True)),
        "ideal": dict(zip(config.objectives, measured.ideal.tolist(), strict=True)),
        "curves": {name: volumes.tolist() for name, volumes in measured.volumes.items()},
        "counts": {"asked": len(outcomes), "validated": distinct,
                   "failed": sum(not outcome.ok for outcome in outcomes)},
        "wall_s": round(time.monotonic() - started, 2), "versions": versions()}
    replace_file(run.path / PICTURE, draw_comparison(
        measured, title=f"{config.supernet} on {place(parts.profile)}"))
    replace_file(run.path / RESULT, (json.dumps(payload, indent=1) + "\n").encode())
    return SearchResult(run.path, payload)


def _single(config: SearchConfig, searcher: str, seed: int) -> SearchConfig:
    return config.model_copy(update={"searcher": searcher, "seed": seed, "compare": (),
                                     "seeds": None})


def _seeds(config: SearchConfig) -> range:
    return range(config.seed, config.seed + (config.seeds or SEEDS))
