import numpy as np
import pytest

from nas.core.protocols import Prediction
from predictors.surrogate.calibration import Z, coverage, held_out_coverage, interval_scale


def test_scale_covers_the_share_of_labels_it_was_made_for() -> None:
    rng = np.random.default_rng(0)
    found = Prediction(np.zeros(199), rng.uniform(0.5, 2.0, 199))
    y = 7.0 * found.std * rng.normal(size=199)
    scale = interval_scale(found, y)
    assert coverage(found, y, scale * (1 + 1e-9)) == pytest.approx(180 / 199)  # ⌈0.9·200⌉ of 199
    assert scale == pytest.approx(7.0, rel=0.2)
    assert coverage(found, y) < 0.3


def test_right_standard_deviations_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    assert interval_scale(Prediction(np.zeros(20_000), np.ones(20_000)),
                          rng.normal(size=20_000)) == pytest.approx(1.0, abs=0.02)


def test_of_very_few_labels_the_largest_residual_counts() -> None:
    found = Prediction(np.zeros(4), np.ones(4))
    assert interval_scale(found, np.array([1.0, -5.0, 2.0, 0.0])) == pytest.approx(5.0 / Z)


def test_held_out_coverage_takes_the_scale_from_the_other_folds() -> None:
    found = Prediction(np.zeros(40), np.ones(40))
    fold = np.arange(40) % 4
    y = np.where(fold == 0, 100.0, 1.0)
    # Fold 0 is far outside what the others promise; the others are inside what it promises.
    assert held_out_coverage(found, y, fold) == pytest.approx(0.75)
