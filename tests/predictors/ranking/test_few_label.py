import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from nas.core.errors import InputError
from nas.core.types import FloatArray
from predictors.ranking.aggregate import consensus
from predictors.ranking.few_label import rank_with_labels, ranking_columns
from predictors.surrogate.ridge import Ridge

PUBLISHED = (Path(__file__).parents[3].parent / "shared" / "data" / "nas_benchmarks"
             / "nasbench201_cifar10_published_proxies.csv")
USED = ("synflow", "nwot", "jacov", "params")


def published() -> tuple[FloatArray, FloatArray, FloatArray]:
    """One-hot codes, scores and accuracies of the architectures whose every score is a number."""
    if not PUBLISHED.is_file():
        pytest.skip("needs the published scores of NAS-Bench-201 in ../shared/data")
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row[name] for name in USED)]
    scores = np.array([[float(row[name]) for name in USED] for row in rows])
    ops = np.array([[int(op) for op in row["ops"]] for row in rows])
    truth = np.array([float(row["test_acc_200"]) for row in rows])
    finite = np.isfinite(scores).all(axis=1)
    one_hot = (ops[:, :, None] == np.arange(5)).reshape(len(ops), -1).astype(float)
    return one_hot[finite], scores[finite], truth[finite]


def rho(a: FloatArray, b: FloatArray) -> float:
    return float(spearmanr(a, b).statistic)


def test_columns_do_not_depend_on_the_unit_of_a_score() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 1)) + rng.normal(size=(30, 2))
    found = ranking_columns(scores)
    assert found.shape == (30, 5)  # two of each proxy, and their consensus
    mapped = np.column_stack([np.exp(scores[:, 0]), 3 * scores[:, 1] + 9])
    assert ranking_columns(mapped) == pytest.approx(found)
    assert ranking_columns(np.insert(scores, 0, 1.0, axis=1)) == pytest.approx(found)


def test_proxies_without_a_consensus_still_give_columns() -> None:
    column = np.arange(5.0)
    assert ranking_columns(np.column_stack([column, -column])).shape == (5, 4)
    assert ranking_columns(column[:, None]).shape == (5, 2)


def test_labels_and_structure_tell_more_than_proxies_alone() -> None:
    features, scores, truth = published()
    assert rho(consensus(scores), truth) >= 0.87
    rows = np.random.default_rng(0).permutation(len(truth))[:100]
    rest = np.setdiff1d(np.arange(len(truth)), rows)
    found = rank_with_labels(rows, truth[rows], seed=0, features=features, scores=scores)
    assert found.prediction.mean.shape == found.prediction.std.shape == truth.shape
    assert found.chosen in found.report
    assert rho(found.prediction.mean[rest], truth[rest]) >= 0.90


def test_predictor_of_the_caller_is_used() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3))
    truth = features @ np.array([1.0, -2.0, 0.5])
    found = rank_with_labels(np.arange(10), truth[:10], seed=0, features=features,
                             predictor=Ridge(seed=0))
    assert (found.chosen, found.report) == ("Ridge", {})
    assert rho(found.prediction.mean, truth) > 0.999


@pytest.mark.parametrize(("rows", "labels", "given", "message"), [
    ([0, 1, 2], [1, 2, 3], {}, "needs features, scores or both"),
    ([0, 1], [1, 2, 3], {"features": np.eye(5)}, "do not go together"),
    ([0, 1, 5], [1, 2, 3], {"features": np.eye(5)}, "outside the 5 architectures"),
    ([0, 1, -1], [1, 2, 3], {"features": np.eye(5)}, "outside the 5 architectures"),
    ([0, 1, 1], [1, 2, 3], {"features": np.eye(5)}, "has two labels"),
    ([0, 1, 2], [1, 2, 3], {"features": np.eye(5), "scores": np.eye(4)[:, :2]},
     "features are of 5 architectures and scores of 4"),
    ([0, 1, 2], [1, 2, 3], {"features": np.eye(5)}, "needs at least 4 labels"),
])
def test_input_that_does_not_fit_is_an_error(
        rows: list[int], labels: list[float], given: dict[str, FloatArray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank_with_labels(np.array(rows), np.array(labels, dtype=float), seed=0, **given)
