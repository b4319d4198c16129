"""One fit over several boards: latencies of whole networks, as sums over a few shared terms.

A task is a board under one condition (runtime, software, source). With x_nf the terms of network
n, its latency on task t is Σ_f c_tf · x_nf with c_tf = exp(θ_tf) > 0, where θ minimises

    Σ (predicted / measured − 1)² + shrinkage² · Σ (θ_tf − u_f − v_t)².

v_t is how fast the task is and u_f the profile that all tasks share, both fitted too: a board
that has few measurements, or none of some kind of layer, leans on the others. So conditions are
never mixed in a coefficient, and a network that is left out must be left out of every task.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import least_squares

from hardware_profiles.calibrate import quality, rank_correlation
from hardware_profiles.candidates import relative_least_squares
from hardware_profiles.estimate import EstimateRow
from hardware_profiles.profile import Quality
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

FOLDS = 8  # in which a form is chosen
COVERAGE = 0.9  # of an interval's bound
_PRIOR = 0.03  # holds u_f where no measurement does
_ANCHOR = 1e-3  # v_t + a, u_f − a says the same: this fixes a


@dataclass(frozen=True, kw_only=True, slots=True)
class FitRow:
    """A measured network.

    Attributes:
        task: Board and condition.
        model: Its name, the same on every task.
        family: Of models.
        latency_ms: Measured.
        features: Of `hardware_profiles.features`.
        scored: Whether predictions of it count in choosing a form and in the quality.
    """

    task: str
    model: str
    family: str
    latency_ms: float
    features: Mapping[str, float]
    scored: bool


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a latency is a sum of.

    Attributes:
        name: Of the form.
        terms: Name → features whose sum shares a coefficient.
        shrinkage: How strongly tasks lean on what they share; > 0.
    """

    name: str
    terms: Mapping[str, Sequence[str]]
    shrinkage: float


def fit_rows(board: str, rows: Sequence[EstimateRow]) -> list[FitRow]:
    """Returns a board's rows for the fit, each under the condition that it was measured in."""
    return [FitRow(task=f"{board}/{row.source}", model=network_name(row.model), family=row.family,
                   latency_ms=row.latency_ms, features=row.features, scored=row.use == "fit")
            for row in rows if row.use != "aside"]


def network_name(model: str) -> str:
    """Returns a name under which the spellings of different sources agree."""
    return model.lower().replace("_", "").replace("-", "")


def term_matrix(rows: Sequence[FitRow], form: Form) -> FloatArray:
    """Returns the terms of each row, (N, F)."""
    return np.array([[sum(row.features.get(name, 0.0) for name in names)
                      for names in form.terms.values()] for row in rows])


def fit_tasks(rows: Sequence[FitRow], form: Form) -> dict[str, FloatArray]:
    """Returns task → coefficients (F,), in ms a unit of each term.

    Raises:
        ProfileError: A term is zero in all rows.
    """
    x_NF = term_matrix(rows, form)
    y_N = np.array([row.latency_ms for row in rows])
    tasks = sorted({row.task for row in rows})
    task_N = np.array([tasks.index(row.task) for row in rows])
    if (x_NF.sum(axis=0) == 0).any():
        raise ProfileError(f"form {form.name} has a term that no measured network has")
    theta_TF = _solve(x_NF, y_N, task_N, len(tasks), form.shrinkage)
    return dict(zip(tasks, np.exp(theta_TF), strict=True))


def predict_left_out(rows: Sequence[FitRow], form: Form, groups: Sequence[str]) -> FloatArray:
    """Returns a prediction (S,) for each scored row, from a fit without any row of its group.

    Raises:
        ProfileError: A term occurs in one group alone.
    """
    predicted = {}
    for group in sorted({one for row, one in zip(rows, groups, strict=True) if row.scored}):
        held = [index for index, one in enumerate(groups) if one == group and rows[index].scored]
        fit = fit_tasks([row for row, one in zip(rows, groups, strict=True) if one != group], form)
        for index, terms in zip(held, term_matrix([rows[i] for i in held], form), strict=True):
            predicted[index] = terms @ fit[rows[index].task]
    return np.array([predicted[index] for index in sorted(predicted)])


def choose_form(rows: Sequence[FitRow], forms: Sequence[Form]) -> Form:
    """Returns the form with the least mean error of scored rows.

    Half of it is the error over folds of models, half that with a family left out: an estimate
    serves networks like the measured ones, and others.
    """
    models = sorted({row.model for row in rows if row.scored})
    folds = [str(models.index(row.model) % FOLDS) if row.model in models else "kept"
             for row in rows]
    families = [row.family for row in rows]
    ms = np.array([row.latency_ms for row in rows if row.scored])
    errors = [sum(np.abs(predict_left_out(rows, form, groups) / ms - 1.0).mean()
                  for groups in (folds, families)) for form in forms]
    return forms[int(np.argmin(errors))]


def predict_nested(rows: Sequence[FitRow], forms: Sequence[Form],
                   by: Literal["model", "family"]) -> FloatArray:
    """Returns a prediction (S,) for each scored row; even the form was chosen without its group."""
    predicted = {}
    for group in sorted({getattr(row, by) for row in rows if row.scored}):
        kept = [row for row in rows if getattr(row, by) != group]
        form = choose_form(kept, forms)
        fit = fit_tasks(kept, form)
        for index, row in enumerate(rows):
            if getattr(row, by) == group and row.scored:
                predicted[index] = float(term_matrix([row], form)[0] @ fit[row.task])
    return np.array([predicted[index] for index in sorted(predicted)])


def one_factor_left_out(cost: FloatArray, latency_ms: FloatArray) -> Quality:
    """Returns how well one factor on a cost (N,) predicts, each network left out in turn.

    The rank correlation is that of the cost itself: a factor of its own for each network would
    only blur it.
    """
    rows = np.arange(len(cost))
    predicted = np.array([
        cost[row] * relative_least_squares(cost[rows != row, None], latency_ms[rows != row])[0]
        for row in rows])
    return quality(predicted, latency_ms).model_copy(
        update={"spearman": rank_correlation(cost, latency_ms)})


def bounds(ratios: FloatArray) -> tuple[float, float]:
    """Returns (lower, upper) bound of measured / predicted, from N held-out ratios.

    A new ratio, drawn like the N, is at or below the upper one with a chance of `COVERAGE`: the
    ⌈COVERAGE · (N + 1)⌉-th smallest (split conformal prediction, Lei et al., JASA 2018, section
    2.2), or the largest where N is too small. The lower one is its mirror.
    """
    ordered = np.sort(ratios)
    rank = min(math.ceil(COVERAGE * (len(ordered) + 1)), len(ordered))
    return float(ordered[len(ordered) - rank]), float(ordered[rank - 1])


def _solve(x_NF: FloatArray, y_N: FloatArray, task_N: IntArray, tasks: int,
           shrinkage: float) -> FloatArray:
    # Unknowns: θ (T·F), u (F), v (T). The residuals are those of the module's formula, and the
    # two weak ones that hold u and v.
    weighted, (count, terms) = x_NF / y_N[:, None], x_NF.shape
    size, rows = tasks * terms, np.arange(len(x_NF))
    start_u = np.log(np.median(y_N) / x_NF.mean(axis=0) / terms)
    rough = y_N / (x_NF @ np.exp(start_u))
    start_v = np.array([np.log(np.median(rough[task_N == task])) for task in range(tasks)])
    start = np.concatenate([(start_u + start_v[:, None]).ravel(), start_u, start_v])

    jacobian = np.zeros((count + size + terms + tasks, size + terms + tasks))
    entry, below = np.arange(size), np.arange(terms + tasks)
    jacobian[count + entry, entry] = shrinkage
    jacobian[count + entry, size + entry % terms] = -shrinkage
    jacobian[count + entry, size + terms + entry // terms] = -shrinkage
    jacobian[count + size + below, size + below] = np.repeat([_PRIOR, _ANCHOR], [terms, tasks])
    anchors = np.concatenate([start_u, np.zeros(tasks)])

    def shares(point: FloatArray) -> FloatArray:
        return np.asarray(weighted * np.exp(point[:size].reshape(tasks, terms)[task_N]))

    def residuals(point: FloatArray) -> FloatArray:
        linear = jacobian[count:] @ point
        linear[size:] -= jacobian[count + size + below, size + below] * anchors
        return np.concatenate([shares(point).sum(axis=1) - 1.0, linear])

    def derivatives(point: FloatArray) -> FloatArray:
        jacobian[rows[:, None], task_N[:, None] * terms + np.arange(terms)] = shares(point)
        return jacobian

    found = least_squares(residuals, start, derivatives, method="lm", xtol=1e-10, ftol=1e-10,
                          gtol=1e-10)
    return np.asarray(found.x[:size].reshape(tasks, terms))
