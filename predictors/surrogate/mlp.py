"""A small ensemble of multilayer perceptrons.

Legend: K members, N rows, F features, H hidden units. All members train in one batch of matrices.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.ensemble import LEAST_ROWS, MEMBERS, FoldNoise, assign_folds
from predictors.surrogate.model import Standardiser, check_features, check_training

_HIDDEN = 64
_STEPS = 100
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 0.1
_INPUT_NOISE = 0.1  # of a standardised feature, anew in each step


class MlpEnsemble:
    """Five perceptrons with two hidden layers (Lakshminarayanan et al. 2017, deep ensembles).

    Each starts from its own weights and leaves out a fifth of the labels; mean and variance as in
    `predictors.surrogate.trees`. On the processor, in float32; other states of torch are not
    touched. A pairwise ranking loss was tried on NAS-Bench-201 and made no difference beyond
    chance, so the loss is the squared error.

    Args:
        seed: Of weights, folds and input noise.
    """

    least_rows = LEAST_ROWS

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._fitted: tuple[Standardiser, Standardiser, list[Tensor], FoldNoise] | None = None

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="for five members that each leave some out")
        inputs, target = Standardiser.of(x), Standardiser.of(y)
        rng = np.random.default_rng(self._seed)
        fold = assign_folds(len(y), MEMBERS, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        x_NF = _tensor(inputs(x))
        seen_KN = torch.from_numpy(fold[None] != np.arange(MEMBERS)[:, None])
        weights = _initial(x.shape[1], generator)
        _train(weights, x_NF, _tensor(target(y)), seen_KN, generator)
        members = _outputs(weights, x_NF)
        self._fitted = inputs, target, weights, FoldNoise.of(members, target(y), fold)

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._fitted[0].mean.shape[0] if self._fitted else None)
        assert self._fitted is not None
        inputs, target, weights, noise = self._fitted
        found = noise.prediction(_outputs(weights, _tensor(inputs(x))))
        return Prediction(np.asarray(target.mean + target.scale * found.mean),
                          np.asarray(target.scale * found.std))


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(values).to(torch.float32)


def _initial(columns: int, generator: torch.Generator) -> list[Tensor]:
    sizes = ((columns, _HIDDEN), (_HIDDEN, _HIDDEN), (_HIDDEN, 1))
    weights = []
    for fan_in, fan_out in sizes:
        drawn = torch.randn(MEMBERS, fan_in, fan_out, generator=generator)
        weights += [drawn / fan_in**0.5, torch.zeros(MEMBERS, 1, fan_out)]
    return weights


def _train(weights: list[Tensor], x_NF: Tensor, y_N: Tensor, seen_KN: Tensor,
           generator: torch.Generator) -> None:
    for weight in weights:
        weight.requires_grad_()
    optimiser = torch.optim.AdamW(weights, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=_STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            noise = torch.randn(MEMBERS, *x_NF.shape, generator=generator)
            error_KN = _forward(weights, x_NF + _INPUT_NOISE * noise) - y_N
            loss = (error_KN[seen_KN] ** 2).mean() * MEMBERS
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    for weight in weights:
        weight.requires_grad_(False)


def _forward(weights: list[Tensor], x_KNF: Tensor) -> Tensor:
    first, first_bias, second, second_bias, last, last_bias = weights
    hidden = functional.silu(x_KNF @ first + first_bias)
    hidden = functional.silu(hidden @ second + second_bias)
    return (hidden @ last + last_bias)[..., 0]


def _outputs(weights: list[Tensor], x_NF: Tensor) -> FloatArray:
    return np.asarray(_forward(weights, x_NF).numpy(), dtype=np.float64)
