"""A ranking of many architectures of which a few have labels.

Legend: N architectures, L labels, F features, P proxies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import Prediction, Predictor
from nas.core.types import FloatArray, IntArray
from predictors.ranking.aggregate import consensus, consensus_weights
from predictors.surrogate.auto import AutoSurrogate, CandidateReport
from predictors.surrogate.columns import RankColumns


@dataclass(frozen=True, slots=True)
class FewLabelRanking:
    """Predictions of all N architectures, and what cross-validation said of each model.

    `report` is empty where the caller chose the predictor.
    """

    prediction: Prediction
    chosen: str
    report: Mapping[str, CandidateReport]


def rank_with_labels(rows: IntArray, labels: FloatArray, *, seed: int,
                     features: FloatArray | None = None, scores: FloatArray | None = None,
                     predictor: Predictor | None = None) -> FewLabelRanking:
    """Learns labels from features and proxies' scores, and predicts every architecture.

    Proxies enter as `ranking_columns`. Labelled architectures are predicted like all others.

    Args:
        rows: Which architectures have labels, (L,), distinct.
        labels: Theirs, (L,).
        seed: Of `AutoSurrogate`.
        features: Of all architectures, (N, F), such as encoders give.
        scores: Of all architectures, (N, P).
        predictor: Instead of `AutoSurrogate`.

    Raises:
        InputError: Neither features nor scores, rows that do not fit, or as the predictor says.
    """
    x = _joined(features, scores)
    if rows.shape != labels.shape or rows.ndim != 1:
        raise InputError(f"{rows.shape} rows and {labels.shape} labels do not go together")
    if rows.size and (rows.min() < 0 or rows.max() >= len(x)):
        raise InputError(f"a labelled row is outside the {len(x)} architectures")
    if len(np.unique(rows)) < len(rows):
        raise InputError("an architecture has two labels; keep one of them")
    if predictor is not None:
        predictor.fit(x[rows], labels)
        return FewLabelRanking(predictor.predict(x), type(predictor).__name__, {})
    auto = AutoSurrogate(seed=seed)
    auto.fit(x[rows], labels)
    return FewLabelRanking(auto.predict(x), auto.chosen, auto.report)


def ranking_columns(scores: FloatArray) -> FloatArray:
    """Returns what a surrogate learns from scores (N, P): (N, 2·P + 1) at most.

    Normal scores of the ranks among all N; the ranks' logarithms, which tell the worst apart; and
    of two proxies or more their `predictors.ranking.aggregate.consensus`, if they have one.
    Constant columns are left out.

    Raises:
        InputError: As in `predictors.ranking.aggregate.borda`.
    """
    weights = consensus_weights(scores)
    varied = scores[:, np.ptp(scores, axis=0) > 0]
    ranks = RankColumns.of(varied)
    columns = [ranks(varied), np.log(ranks.shares(varied))]
    if varied.shape[1] > 1 and weights.any():
        agreed = consensus(scores)[:, None]
        columns.append(RankColumns.of(agreed)(agreed))
    return np.concatenate(columns, axis=1)


def _joined(features: FloatArray | None, scores: FloatArray | None) -> FloatArray:
    parts = [] if features is None else [features]
    if scores is not None:
        parts.append(ranking_columns(scores))
    if not parts:
        raise InputError("ranking from labels needs features, scores or both")
    if len({len(part) for part in parts}) > 1:
        raise InputError(f"features are of {len(parts[0])} architectures and scores of "
                         f"{len(parts[1])}; give both of the same")
    return np.concatenate(parts, axis=1)
