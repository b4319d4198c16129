"""The forms that a calibration may take, each fitted on the features of whole networks.

All minimise the relative error. A network's features are sums over its blocks, see
`hardware_profiles.features`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hardware_profiles.features import BLOCKS, OWN_MS
from hardware_profiles.profile import CONSTANT, Steps
from nas.core.types import FloatArray

Features = Mapping[str, FloatArray]  # name → (N,), the constant not among them

_PENALTIES = np.logspace(-6, 2, 33)
_STUMPS, _LEARNING_RATE = 200, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """latency_ms = (Σ coefficient · feature) · exp(Σ steps(feature)).

    Attributes:
        coefficients: By feature; ``"constant"`` counts once.
        steps: By feature; none for a linear form.
    """

    coefficients: Mapping[str, float]
    steps: Mapping[str, Steps] = field(default_factory=dict)

    def predict(self, features: Features) -> FloatArray:
        """Returns the latency of networks, (N,), in ms."""
        names = list(self.coefficients)
        linear = _columns(features, names) @ np.array([self.coefficients[name] for name in names])
        return np.asarray(linear * step_factor(self.steps, features))


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A form.

    Attributes:
        name: What a profile calls it.
        min_nets: Fewer networks are not enough to fit it on.
        fit: Features and latencies (N,) in ms → the fitted form.
    """

    name: str
    min_nets: int
    fit: Callable[[Features, FloatArray], Fitted]


def step_factor(steps: Mapping[str, Steps], features: Features) -> FloatArray | float:
    """Returns exp(Σ steps(feature)) of networks, (N,); 1 where there are no steps."""
    total: FloatArray | float = 0.0
    for name, step in steps.items():
        # As a tree does: up to and including a threshold is its left side.
        total = total + np.array(step.values)[np.searchsorted(step.thresholds, features[name])]
    return np.exp(total) if steps else 1.0


def relative_least_squares(columns: FloatArray, latency_ms: FloatArray) -> FloatArray:
    """Returns the coefficients (F,) that minimise Σ(columns·k / latency − 1)².

    Columns that say the same (a space of one depth) share their coefficient: least norm.
    """
    weighted = columns / latency_ms[:, None]
    return np.asarray(np.linalg.lstsq(weighted, np.ones(len(latency_ms)), rcond=None)[0])


def relative_ridge(columns: FloatArray, latency_ms: FloatArray,
                   penalised: Sequence[bool]) -> FloatArray:
    """Returns coefficients (F,) like `relative_least_squares`, some of which are kept small.

    Columns are scaled to one length for that. How small is decided by leaving one network out,
    in closed form (Allen 1974, PRESS).
    """
    weighted = columns / latency_ms[:, None]
    scale = np.linalg.norm(weighted, axis=0)
    scale[scale == 0.0] = 1.0
    scaled, target = weighted / scale, np.ones(len(latency_ms))
    def solved(penalty: float) -> tuple[float, FloatArray]:
        # A trace of a penalty on every column keeps the system solvable where two say the same.
        gram = scaled.T @ scaled + np.diag(np.where(penalised, penalty, 1e-9))
        inverse = np.linalg.solve(gram, scaled.T)
        found = inverse @ target
        left_out = 1.0 - np.einsum("nf,fn->n", scaled, inverse)
        errors = (target - scaled @ found) / np.maximum(left_out, 1e-6)
        return float((errors**2).sum()), found

    return np.asarray(min(map(solved, _PENALTIES), key=lambda tried: tried[0])[1] / scale)


def _columns(features: Features, names: Sequence[str]) -> FloatArray:
    count = len(next(iter(features.values())))
    return np.stack([np.ones(count) if name == CONSTANT else features[name] for name in names],
                    axis=1)


def _linear(features: Features, latency_ms: FloatArray, *, free: Sequence[str],
            penalised: Sequence[str] = ()) -> Fitted:
    names = [*free, *penalised]
    columns = _columns(features, names)
    if penalised:
        found = relative_ridge(columns, latency_ms, [name in penalised for name in names])
    else:
        found = relative_least_squares(columns, latency_ms)
    return Fitted(coefficients=dict(zip(names, found.tolist(), strict=True)))


def _operators(features: Features) -> list[str]:
    return [name for name in features if name not in (OWN_MS, BLOCKS)]


def _affine_blocks(features: Features, latency_ms: FloatArray) -> Fitted:
    return _linear(features, latency_ms, free=(OWN_MS, BLOCKS, CONSTANT))


def _op_counts(features: Features, latency_ms: FloatArray) -> Fitted:
    return _linear(features, latency_ms, free=(CONSTANT,), penalised=_operators(features))


def _blocks_and_ops(features: Features, latency_ms: FloatArray) -> Fitted:
    return _linear(features, latency_ms, free=(OWN_MS, BLOCKS, CONSTANT),
                   penalised=_operators(features))


def _boosted_blocks(features: Features, latency_ms: FloatArray) -> Fitted:
    # Boosted on what the affine map leaves, so that it reaches beyond the networks seen; of
    # trees with one split each, so that it is a sum of one function a feature: quick to look up,
    # and a few numbers that need no library to be read back.
    from sklearn.ensemble import GradientBoostingRegressor  # a second to import

    affine = _affine_blocks(features, latency_ms)
    rough = affine.predict(features)
    if rough.min() <= 0:
        return affine
    names = list(features)
    model = GradientBoostingRegressor(n_estimators=_STUMPS, learning_rate=_LEARNING_RATE,
                                      max_depth=1, random_state=0)
    model.fit(_columns(features, names), np.log(latency_ms / rough))
    splits: dict[str, list[tuple[float, float, float]]] = {}
    offset = float(model.init_.constant_.item())
    for stump, in model.estimators_:
        tree = stump.tree_
        values = _LEARNING_RATE * tree.value[:, 0, 0]
        if tree.node_count == 1:
            offset += values[0]
        else:
            splits.setdefault(names[tree.feature[0]], []).append(
                (float(tree.threshold[0]), float(values[1]), float(values[2])))
    factor = float(np.exp(offset))
    scaled = {name: factor * value for name, value in affine.coefficients.items()}
    return Fitted(coefficients=scaled,
                  steps={name: _steps(found) for name, found in splits.items()})


def _steps(splits: Sequence[tuple[float, float, float]]) -> Steps:
    # The sum of stumps (threshold, left, right) on one feature, as one function.
    thresholds = sorted({threshold for threshold, _, _ in splits})
    values = [sum(left if index <= thresholds.index(threshold) else right
                  for threshold, left, right in splits)
              for index in range(len(thresholds) + 1)]
    return Steps(thresholds=tuple(thresholds), values=tuple(values))


# Simplest first: a later one must be clearly better to be chosen.
CANDIDATES = (
    Candidate(name="affine_blocks", min_nets=4, fit=_affine_blocks),
    Candidate(name="blocks_and_ops", min_nets=12, fit=_blocks_and_ops),
    Candidate(name="op_counts", min_nets=12, fit=_op_counts),
    Candidate(name="boosted_blocks", min_nets=20, fit=_boosted_blocks),
)
