"""What runs a job of each kind: `nas.pipeline`, on paths relative to DIR. It brings torch.

Everything here goes on where a worker before was stopped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware_profiles.bundle_manifest import read_bundle
from nas.core.errors import NasError
from nas.execution.registry import EXECUTORS
from nas.pipeline.compare import resume_comparison, run_comparison
from nas.pipeline.config import SearchConfig
from nas.pipeline.events import Watcher
from nas.pipeline.export import export_subnet, finished_bundle, winner
from nas.pipeline.profile_remote import import_profile
from nas.pipeline.prune.compare import compare_methods
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.prune.run import BudgetMissed, prune
from nas.pipeline.rank import rank
from nas.pipeline.run_dir import RunDir
from nas.pipeline.search import resume_search, run_search
from nas.service.folder import DataDir
from nas.service.option_rules import Asked, supernet
from nas.service.requests import (
    ExportJob,
    ExportRequest,
    ImportJob,
    ImportRequest,
    JobRequest,
    PruneJob,
    RankJob,
    SearchJob,
)
from nas.service.settings import Settings

Payload = Mapping[str, Any]


class Missed(NasError):
    """A job that made what was asked for, short of what it is for.

    Attributes:
        payload: What there is all the same.
    """

    code = "budget_missed"

    def __init__(self, message: str, payload: Payload) -> None:
        super().__init__(message)
        self.payload = payload


def perform(request: JobRequest, job_id: str, *, folder: DataDir, settings: Settings,
            watch: Watcher) -> Payload:
    """Does a job, or what is left of it, and returns what the command line prints as JSON.

    Of an import that is only what the profile is called and of.

    Args:
        request: Of the job.
        job_id: Its id.
        folder: Paths relative to the working directory.
        settings: Of the server.
        watch: Is told of every step.

    Raises:
        NasError: As the command line; the message is the same.
        KeyboardInterrupt: It was stopped; so does a RunInterrupted, which is a NasError.
    """
    out = folder.run(job_id)
    match request:
        case SearchJob(config=config):
            return _search(config, out, settings, watch)
        case RankJob(config=config):
            return rank(config.model_copy(update={"out": out}), watch=watch).payload
        case PruneJob(config=config):
            return _prune(config.model_copy(update={"out": out}), watch)
        case ExportJob(config=config):
            return _export(config, out, folder, watch)
        case ImportJob(config=config):
            return _import(config, folder, settings)


def _search(config: SearchConfig, out: Path, settings: Settings, watch: Watcher) -> Payload:
    on_cluster = EXECUTORS.get(config.executor).info.get("cluster", False)
    execution = {"ray_address": settings.ray_address if on_cluster else None}
    if RunDir(out).config.exists():
        go_on = resume_comparison if config.compare else resume_search
        return go_on(out, watch=watch, execution=execution).payload
    begin = run_comparison if config.compare else run_search
    return begin(config.model_copy(update={"out": out, **execution}), watch=watch).payload


def _prune(request: PruneRequest, watch: Watcher) -> Payload:
    try:
        payload: Payload = (compare_methods if request.compare else prune)(
            request, watch=watch).payload
    except BudgetMissed as error:
        raise Missed(str(error), error.result.payload) from None
    return payload


def _export(request: ExportRequest, out: Path, folder: DataDir, watch: Watcher) -> Payload:
    # Always into the job's own folder: the search's may be somebody's download just now.
    run_dir, extras = folder.run(request.job), request.extras()
    digest = request.digest or winner(RunDir.open(run_dir)[0], extras)
    bundle = None if extras.any else finished_bundle(out, digest)
    if bundle is None:
        bundle = export_subnet(run_dir, digest=digest, out=out, extras=extras, watch=watch)
    return bundle.payload


def _import(request: ImportRequest, folder: DataDir, settings: Settings) -> Payload:
    bundle = None if request.bundle is None else folder.upload(request.bundle)
    name = request.supernet
    if bundle is not None and name is None:
        # What the uploader's file names is held to what a job may name.
        name = supernet(Asked("supernet", settings, folder), read_bundle(bundle).supernet)
    profile = import_profile(folder.upload(request.result), bundle=bundle, supernet=name)
    return {"profile": profile.id, "device": profile.device.id, "kind": profile.kind,
            "space": profile.space}
