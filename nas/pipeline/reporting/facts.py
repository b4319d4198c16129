"""What a run folder tells, read once and checked, for the report to be made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware_profiles.identity import generator_hash, require_space
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.table import LatencyTable
from nas.core.errors import ExportError, InputError, NasError
from nas.core.protocols import Quality
from nas.core.trial import Outcome
from nas.export.manifest import MANIFEST, Manifest, read_manifest
from nas.pipeline.config import SearchConfig
from nas.pipeline.design import Design, load_design
from nas.pipeline.front import count_outcomes, pareto_front, whole_cost
from nas.pipeline.reporting.values import shown as metric_text
from nas.pipeline.run_dir import RunDir
from nas.search.record import Record, RecordedTrial, read_record
from nas.search.storage_url import shown
from supernets.tasks.measures import DISTANCE, FID

_PNG = b"\x89PNG\r\n\x1a\n"  # what such a file begins with


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Counts(_Read):
    """How many candidates were drawn, left at which early exit, were validated, failed.

    Those validated on a part of the images have a number of their own, and a cost in full ones.
    """

    sampled: int
    early_exits: dict[str, int]
    evaluated: int
    partial: int = 0
    partial_cost: float = 0.0
    failed: int


class Point(_Read):
    """A network of the front."""

    digest: str
    metrics: dict[str, float]


class Tuned(_Read):
    """How the exported network was trained after the search, and what it changed."""

    epochs: int
    images: str
    before: dict[str, float]
    after: dict[str, float]


class Best(Point):
    """The exported network."""

    test: dict[str, float]
    measured_latency_ms: float | None
    onnx_max_abs_diff: float
    finetuned: Tuned | None = None


class Results(_Read):
    """The part of ``pareto.json`` that is not in the ledger."""

    space_size: int
    quality: Quality = Quality()
    counts: Counts
    pareto: tuple[Point, ...] = Field(min_length=1)
    best: Best
    learned_exits: tuple[dict[str, Any], ...] = ()
    cascade: dict[str, Any] | None = None
    stopped: str | None = None
    wall_s: float
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """All that the report says comes from here.

    Attributes:
        run: The folder.
        config: What was asked for.
        profile: The latencies that the search was scored with.
        trials: Every finished trial, sorted by id.
        counts: So far, if the search has not finished.
        results: Of a finished search, else None.
        manifest: Of the exported bundle, if it is there.
        design: The space and its blocks, if the supernet can be found.
        design_problem: Why not.
        samples: Digest → PNG of what a network of the front generates, where networks do that.
    """

    run: RunDir
    config: SearchConfig
    profile: HardwareProfile
    trials: Sequence[RecordedTrial]
    counts: Counts
    results: Results | None
    manifest: Manifest | None
    design: Design | None
    design_problem: str
    samples: Mapping[str, bytes]

    @property
    def finished(self) -> bool:
        return self.results is not None

    @cached_property
    def validated(self) -> list[Outcome]:
        """The outcomes of full validations, in the order of trial ids."""
        return [trial.outcome for trial in self.trials if trial.outcome.final]

    @property
    def spent(self) -> int:
        """Whole validations that all trials so far cost together."""
        return whole_cost([trial.outcome for trial in self.trials])

    @cached_property
    def front(self) -> list[Outcome]:
        """Best first objective first."""
        return pareto_front(self.config.objective_values(), self.validated)

    @property
    def chosen(self) -> Outcome | None:
        """The exported network; before that, the best so far."""
        if self.results is None:
            return self.front[0] if self.front else None
        digest = self.results.best.digest
        return next(outcome for outcome in self.front if outcome.trial.arch.digest == digest)

    @cached_property
    def live(self) -> dict[str, frozenset[str]]:
        """Digest → the genes that matter in that network."""
        return {trial.outcome.trial.arch.digest: trial.live for trial in self.trials}

    @property
    def quality(self) -> Quality:
        """What the error is; of an unfinished search no more than its unit is known."""
        if self.results:
            return self.results.quality
        return replace(DISTANCE if self.config.quality == FID else Quality(), inputs="inputs")

    def error(self, value: float) -> str:
        """Returns an error as people read it."""
        return metric_text("error", value, self.quality)

    @property
    def latency_table(self) -> LatencyTable | None:
        if self.design is None:
            return None
        return LatencyTable(self.profile, self.design.vocabulary, self.design.block_ids)

    @property
    def last(self) -> datetime | None:
        """When the last trial finished."""
        return max((t.completed for t in self.trials if t.completed), default=None)

    def held_out(self) -> tuple[list[float], list[float]] | None:
        """Predicted and measured ms of the profile's held-out networks; None without a design."""
        table = self.latency_table
        nets = [net for net in self.profile.subnets if net.split == "test"]
        if table is None or not nets:
            return None
        predicted = table.predict("latency_ms", np.array([net.codes for net in nets])).value
        return predicted.tolist(), [net.timing.latency_ms for net in nets]


def read_facts(run_dir: Path) -> RunFacts:
    """Reads a run folder and changes nothing in it.

    Raises:
        InputError: No run folder, or a file of it is damaged or contradicts another.
        LedgerError: The ledger cannot be read.
    """
    run, config, profile = RunDir.open(run_dir)
    results = _read_results(run.pareto)
    record = _read_ledger(run, config, finished=results is not None)
    design, problem = _find_design(config, profile)
    facts = RunFacts(run=run, config=config, profile=profile, trials=record.trials,
                     counts=results.counts if results else _counts_so_far(record),
                     results=results, manifest=_read_manifest(run) if results else None,
                     design=design, design_problem=problem, samples=_read_samples(run))
    if results is not None:
        _check_agreement(facts, results)
    return facts


def _read_results(path: Path) -> Results | None:
    if not path.exists():
        return None
    try:
        return Results.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(f"{path} is damaged ({reason}); `nas search --resume {path.parent}` writes it "
                     "anew")


def _read_ledger(run: RunDir, config: SearchConfig, *, finished: bool) -> Record:
    storage, study_name = run.ledger(config)
    # A search that was stopped at once has no ledger yet.
    missing = isinstance(storage, Path) and not storage.exists() and not finished
    record = Record() if missing else read_record(storage, study_name=study_name)
    if record is None and finished:
        raise InputError(f"ledger {shown(storage)} has no study {study_name!r}, though "
                         f"{run.pareto} says that the search finished; restore it from a copy")
    return record or Record()


def _counts_so_far(record: Record) -> Counts:
    # Exits are counted a batch at a time: those of the batch in hand are not known yet.
    exits = dict(record.counts)
    return Counts.model_validate({
        "sampled": exits.pop("sampled", 0), "early_exits": exits,
        **count_outcomes([trial.outcome for trial in record.trials])})


def _read_manifest(run: RunDir) -> Manifest | None:
    path = run.best / MANIFEST
    if not path.exists():
        return None
    try:
        return read_manifest(path.read_bytes())
    except (OSError, ExportError) as error:
        raise InputError(f"{path} is damaged ({error}); `nas verify {run.best}` says more"
                         ) from None


def _read_samples(run: RunDir) -> dict[str, bytes]:
    found = {path.stem: path.read_bytes() for path in sorted(run.samples.glob("*.png"))}
    damaged = [name for name, png in found.items() if not png.startswith(_PNG)]
    if damaged:
        raise InputError(f"{run.samples / damaged[0]}.png is damaged; `nas search --resume "
                         f"{run.path}` writes it anew")
    return found


def _find_design(config: SearchConfig, profile: HardwareProfile) -> tuple[Design | None, str]:
    # A run folder is passed on without its supernet; the report then says what it cannot draw.
    try:
        design = load_design(config.supernet, seconds=config.seconds)
        require_space(profile, space=design.space.id,
                      generator=generator_hash(design.space, design.vocabulary))
    except NasError as error:
        return None, str(error)
    return design, ""


def _check_agreement(facts: RunFacts, results: Results) -> None:
    found = [outcome.trial.arch.digest for outcome in facts.front]
    stored = [point.digest for point in results.pareto]
    if found != stored or results.best.digest not in stored:
        raise InputError(f"{facts.run.pareto} and the ledger disagree about the front; "
                         f"`nas search --resume {facts.run.path}` writes it anew")
