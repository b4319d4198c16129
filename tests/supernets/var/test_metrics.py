import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nas.core.errors import EvaluationError, InputError
from supernets.var.metrics import (
    FeatureStatistics,
    class_accuracy,
    feature_statistics,
    frechet_distance,
    precision_recall,
)


def drawn(count: int, width: int, *, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, width)) @ rng.standard_normal((width, width))
    return torch.from_numpy(mixed + rng.standard_normal(width))


def gaussian(mean: list[float], variances: list[float], *, net: str = "net") -> FeatureStatistics:
    return FeatureStatistics(net, 100, np.array(mean), np.diag(variances))


def test_statistics_are_mean_and_unbiased_covariance() -> None:
    features = drawn(50, 4, seed=0)
    found = feature_statistics("net", features)
    np.testing.assert_allclose(found.mean_F, features.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.covariance_FF, np.cov(features.numpy().T), atol=1e-12)
    assert found.count == 50


@given(st.lists(st.tuples(*[st.floats(-3, 3), st.floats(0, 4)] * 2), min_size=1, max_size=5))
def test_distance_of_diagonal_gaussians_is_the_closed_form(
        axes: list[tuple[float, float, float, float]]) -> None:
    means_a, stds_a, means_b, stds_b = (list(column) for column in zip(*axes, strict=True))
    found = frechet_distance(gaussian(means_a, [s * s for s in stds_a]),
                             gaussian(means_b, [s * s for s in stds_b]))
    wanted = sum((ma - mb)**2 + (sa - sb)**2
                 for ma, sa, mb, sb in axes)
    # The root of an eigenvalue's rounding error is the larger one.
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("width", [3, 16])
def test_distance_is_that_of_the_published_formula(width: int) -> None:
    # As torchmetrics and the authors of FID have it, with scipy's root of a general matrix.
    a, b = (feature_statistics("net", drawn(200, width, seed=seed)) for seed in (1, 2))
    root = scipy.linalg.sqrtm(a.covariance_FF @ b.covariance_FF).real
    wanted = (((a.mean_F - b.mean_F)**2).sum()
              + np.trace(a.covariance_FF + b.covariance_FF - 2 * root))
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_features_that_never_fire_do_no_harm() -> None:
    features = drawn(50, 4, seed=0)
    features[:, 2] = 0.0
    a, b = feature_statistics("net", features), feature_statistics("net", features + 1)
    assert frechet_distance(a, b) == pytest.approx(4.0)


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(InputError, match="8 images are too few for 8 features of net"):
        feature_statistics("net", drawn(8, 8, seed=0))
    with pytest.raises(InputError, match=r"not \(1, 3\)"):
        feature_statistics("net", torch.zeros(1, 3))
    with pytest.raises(EvaluationError, match="not finite"):
        feature_statistics("net", torch.full((5, 2), float("nan")))
    a = gaussian([0.0], [1.0])
    with pytest.raises(InputError, match="one feature net"):
        frechet_distance(a, gaussian([0.0], [1.0], net="other"))
    with pytest.raises(InputError, match="cannot be compared"):
        frechet_distance(a, gaussian([0.0, 0.0], [1.0, 1.0]))
    with pytest.raises(EvaluationError, match="below 0"):
        frechet_distance(a, gaussian([0.0], [-1.0]))


def _by_definition(real: Tensor, made: Tensor, neighbours: int) -> tuple[float, float]:
    def share(of: Tensor, around: Tensor) -> float:
        hits = 0
        for point in of:
            for centre in around:
                radius = sorted(float((centre - other).norm()) for other in around)[neighbours]
                if float((point - centre).norm()) <= radius:
                    hits += 1
                    break
        return hits / len(of)

    return share(made, real), share(real, made)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_precision_and_recall_are_by_the_definition(neighbours: int) -> None:
    real, made = drawn(12, 2, seed=0), drawn(15, 2, seed=3)
    found = precision_recall(real, made, neighbours=neighbours)
    assert found == pytest.approx(_by_definition(real, made, neighbours))
    assert 0 < found[0] < 1  # no edge case
    assert 0 < found[1] < 1


def test_precision_and_recall_of_extremes() -> None:
    real = drawn(20, 3, seed=0)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 1e6) == (0.0, 0.0)
    precision, recall = precision_recall(real, real[:1].expand(20, 3))  # one image, again and again
    assert precision == 1.0
    assert recall == pytest.approx(1 / 20)


def test_too_few_or_other_features_have_no_precision() -> None:
    real = drawn(20, 3, seed=0)
    for made, match in ((real[:3], "3 images have no 3"), (real[:, :2], "not")):
        with pytest.raises(InputError, match=match):
            precision_recall(real, made)
    with pytest.raises(EvaluationError, match="finite"):
        precision_recall(real, real * float("inf"))


def test_accuracy_is_the_share_of_right_classes() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    assert class_accuracy(logits, torch.tensor([0, 1, 0, 1])) == 50.0
    for labels in (torch.tensor([0]), torch.zeros(0, dtype=torch.int64)):
        with pytest.raises(InputError, match="labels"):
            class_accuracy(logits[:len(labels) * 2], labels)
