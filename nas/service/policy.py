"""What a job may be: no file outside the data folder, no code, no storage, not too large.

Every option that can hold text has a line in `RULES`; a test sees to that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from nas.execution.process import usable_cores
from nas.execution.registry import EXECUTORS
from nas.pipeline.config import SEEDS, SearchConfig
from nas.pipeline.prune.methods import METHODS
from nas.pipeline.prune.request import ALL, PruneRequest
from nas.pipeline.rank_request import RankRequest
from nas.search.registry import SEARCHERS
from nas.service.folder import DataDir
from nas.service.option_rules import (
    Asked,
    Rule,
    TooLarge,
    dataset,
    inside,
    models,
    of_server,
    offline,
    own_ledger,
    plain_text,
    registered,
    supernet,
    truth,
)
from nas.service.requests import ExportRequest, ImportRequest, JobRequest
from nas.service.settings import Settings
from predictors.registry import PROXIES

RULES: Mapping[type[BaseModel], Mapping[str, Rule]] = {
    SearchConfig: {
        "supernet": supernet, "data": inside, "proxy": registered(PROXIES),
        "searcher": registered(SEARCHERS), "compare": registered(SEARCHERS),
        "executor": registered(EXECUTORS), "ray_address": of_server, "out": of_server,
        "storage": own_ledger, "study": own_ledger, "join": own_ledger,
        **dict.fromkeys(("device", "objectives", "pattern", "search_speakers", "test_speakers",
                         "searcher_options", "stop_at"), plain_text)},
    RankRequest: {
        "supernet": supernet, "models": models, "proxies": registered(PROXIES),
        "against": truth, "out": of_server},
    PruneRequest: {
        "model": models, "data": inside, "weights": inside, "out": of_server,
        "method": registered(METHODS), "compare": registered(METHODS, ALL),
        "pretrained": offline, "download": offline, "dataset": dataset,
        **dict.fromkeys(("macs", "params", "max_latency_ms", "device", "exclude", "optimizer"),
                        plain_text)},
    ExportRequest: {"job": plain_text, "digest": plain_text, "calibration": inside},
    ImportRequest: {"result": plain_text, "bundle": plain_text, "supernet": supernet},
}


def permitted(request: JobRequest, *, settings: Settings, folder: DataDir) -> JobRequest:
    """Returns a job as the worker is given it: paths relative to DIR, trials on the server's Ray.

    Raises:
        NotAllowed: An option that names what this server's jobs may not name, or a job that is
            too large.
    """
    config, changed = request.config, {}
    for field, value in config:
        asked = Asked(field, settings, folder)
        _check_text(asked, value)
        rule = RULES[type(config)].get(field)
        if rule is not None and value != type(config).model_fields[field].default:
            changed[field] = rule(asked, value)
    _check_size(config, settings.max_job_trials)
    if (settings.ray_address and isinstance(config, SearchConfig)
            and "executor" not in config.model_fields_set):
        changed["executor"] = "ray"
    return request.model_copy(update={"config": config.model_copy(update=changed)})


def _check_text(asked: Asked, value: object) -> None:
    for text in _texts(value):
        if "\0" in text or not _is_unicode(text):
            raise asked.refusal(text, "a NUL or half a character is no part of a text; drop it")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, BaseModel):
        yield from _texts(dict(value))
    elif isinstance(value, Mapping):
        yield from _texts((*value, *value.values()))
    elif isinstance(value, Iterable):
        for part in value:
            yield from _texts(part)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return True


def _check_size(config: BaseModel, most: int) -> None:
    sizes: Sequence[tuple[str, int]] = ()
    if isinstance(config, SearchConfig):
        searches = len(config.compare) * (config.seeds or SEEDS) if config.compare else 1
        sizes = [("budget", config.budget * searches)]
    elif isinstance(config, RankRequest):
        sizes = [("models", len(config.models))] if config.models else [("n", config.n)]
    workers = getattr(config, "workers", None)
    on_cluster = (isinstance(config, SearchConfig)
                  and EXECUTORS.get(config.executor).info.get("cluster", False))
    if workers is not None and not on_cluster and workers > usable_cores():
        raise TooLarge(f"--workers {workers}: this server has {usable_cores()} cores; ask for that "
                       "many at most", field="workers")
    for field, trials in sizes:
        if trials > most:
            raise TooLarge(f"--{field}: {trials} trials in all, and a job of this server has "
                           f"{most} at most; ask for less", field=field)
