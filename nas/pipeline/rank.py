"""The use-case of `nas rank`: zero-cost scores of networks, and how well they rank the truth."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.errors import EvaluationError, InputError, RunInterrupted
from nas.core.files import replace_file
from nas.core.locks import locked
from nas.core.protocols import ZeroCostProxy
from nas.core.rng import derive_rng
from nas.core.types import FloatArray
from nas.pipeline.device import one_thread
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.proxies import load_proxy
from nas.pipeline.rank_candidates import Candidates, plain_models, supernet_candidates
from nas.pipeline.rank_picture import draw_ranking
from nas.pipeline.rank_request import MIN_NETWORKS, VALIDATION, require_proxies
from nas.pipeline.rank_request import RankRequest as RankRequest
from nas.pipeline.rank_store import TRUTH, RankStore
from predictors.ranking.aggregate import borda
from predictors.ranking.labels import load_labels
from predictors.ranking.metrics import kendall, spearman

PICTURE = "rank.png"
BEST = 10  # networks listed


@dataclass(frozen=True, slots=True)
class Ranking:
    """A finished ranking.

    Attributes:
        payload: What ``--json`` prints.
        picture: Scores against the truth; None where there is none.
    """

    payload: Mapping[str, Any]
    picture: Path | None


def rank(request: RankRequest, *, watch: Watcher = silent) -> Ranking:
    """Scores networks with zero-cost proxies and compares their order with the truth.

    Raises:
        InputError: An unknown name, labels that lack a network, a proxy that cannot score such
            networks at all, or a folder of another ranking.
        RunInterrupted: Ctrl-C; what had been found is kept.
    """
    require_proxies(request)
    proxies = {name: load_proxy(name) for name in request.proxies}
    found = _candidates(request)
    labels = _labels(request, found)
    request.out.mkdir(parents=True, exist_ok=True)
    with locked(request.out, "ranking"), one_thread():
        store = RankStore(request.out, request.model_dump(mode="json", exclude={"out"}))
        try:
            _fill(store, found, proxies, validate=request.against == VALIDATION, watch=watch)
        except KeyboardInterrupt:
            raise RunInterrupted("stopped; what had been found is kept; the same command goes on"
                                 ) from None
        if labels is None and request.against == VALIDATION:
            labels = np.array([store.values[name, TRUTH] for name in found.names])
        return _concluded(request, found, store, labels)


def _candidates(request: RankRequest) -> Candidates:
    if request.models:
        return plain_models(request.models, batch=request.batch, seed=request.seed)
    return supernet_candidates(request.supernet, n=request.n, weights=request.weights,
                               batch=request.batch, seed=request.seed)


def _labels(request: RankRequest, found: Candidates) -> FloatArray | None:
    if request.against == VALIDATION:
        if found.validate is None:
            raise InputError("--against validation: plain models come without data; give a file "
                             "of labels: `digest,value`, then a row a model")
        return None
    return None if request.against is None else load_labels(Path(request.against), found.names)


def _fill(store: RankStore, found: Candidates, proxies: Mapping[str, ZeroCostProxy], *,
          validate: bool, watch: Watcher) -> None:
    for done, network in enumerate(found.names):
        watch(Event("rank", done, len(found.names)))
        for name, proxy in proxies.items():
            if (network, name) not in store:
                _timed(store, network, name, partial(found.score, name, proxy, network))
        if validate and (network, TRUTH) not in store:
            assert found.validate is not None
            start = time.thread_time()
            store.add(network, TRUTH, found.validate(network), time.thread_time() - start)
    watch(Event("rank", len(found.names), len(found.names)))


def _timed(store: RankStore, network: str, column: str, compute: Callable[[], float]) -> None:
    start, failure = time.thread_time(), None
    try:
        value = compute()
    except EvaluationError as error:
        value, failure = float("nan"), str(error)
    store.add(network, column, value, time.thread_time() - start, failure)


def _concluded(request: RankRequest, found: Candidates, store: RankStore,
               truth: FloatArray | None) -> Ranking:
    scores = {name: np.array([store.values[network, name] for network in found.names])
              for name in request.proxies}
    rows = [_row(request, name, scores[name], truth, store, found.names) for name in scores]
    picture = None
    if truth is not None:
        picture = request.out / PICTURE
        titles = {row["name"]: _title(row) for row in rows}
        label = "−validation error [%]" if request.against == VALIDATION else "label"
        replace_file(picture, draw_ranking(scores, truth, titles, truth_label=label))
    return Ranking({"networks": len(found.names), "against": request.against,
                    "weights": None if request.models else request.weights, "proxies": rows,
                    "best": _best(found, scores), "out": str(request.out),
                    "picture": str(picture) if picture else None}, picture)


def _row(request: RankRequest, name: str, scores: FloatArray, truth: FloatArray | None,
         store: RankStore, networks: Sequence[str]) -> dict[str, Any]:
    there = ~np.isnan(scores)
    failures = [store.failures[network, name] for network in networks
                if (network, name) in store.failures]
    row: dict[str, Any] = {
        "name": name, "spearman": None, "kendall": None, "ci95": None,
        "seconds_per_arch": float(np.mean([store.seconds[network, name] for network in networks])),
        "unscored": int((~there).sum()), "first_failure": failures[0] if failures else None}
    if truth is not None:
        rho = spearman(scores[there], truth[there], rng=derive_rng(request.seed, "bootstrap"))
        tau = kendall(scores[there], truth[there], rng=derive_rng(request.seed, "bootstrap"))
        row |= {"spearman": rho.value, "ci95": [rho.low, rho.high], "kendall": tau.value}
    return row


def _title(row: Mapping[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['name']}: ρ {row['spearman']:.2f} ({low:.2f} … {high:.2f})"


def _best(found: Candidates, scores: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    # By the mean rank over the proxies that scored every network: it takes no labels.
    whole = [values for values in scores.values() if not np.isnan(values).any()]
    names = found.names
    if not whole or len(names) < MIN_NETWORKS:
        return []
    mean = borda(np.stack(whole, axis=1))
    return [{"network": names[index], "mean_rank": float(mean[index]),
             "arch": dict(found.archs[names[index]]),
             "scores": {name: _number(values[index]) for name, values in scores.items()}}
            for index in np.argsort(-mean, kind="stable")[:BEST]]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
