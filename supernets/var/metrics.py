"""Distances between features of real and of generated images; nothing here knows a network.

Legend: N real images, M generated, F features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.core.errors import EvaluationError, InputError

NEIGHBOURS = 3  # k of precision and recall, as published
_ROWS = 512  # of a matrix of distances at a time


@dataclass(frozen=True, eq=False, slots=True)
class FeatureStatistics:
    """The Gaussian of images' features.

    Attributes:
        net: The feature net's name: statistics of two nets cannot be compared.
        count: Images, N.
        mean_F: float64.
        covariance_FF: float64, unbiased (N − 1).

    Raises:
        InputError: Shapes that do not fit, or too few images: with N ≤ F the covariance is
            singular whatever the images are.
        EvaluationError: A number that is not finite.
    """

    net: str
    count: int
    mean_F: NDArray[np.float64]
    covariance_FF: NDArray[np.float64]

    def __post_init__(self) -> None:
        width = len(self.mean_F)
        if self.mean_F.shape != (width,) or self.covariance_FF.shape != (width, width):
            raise InputError(f"a mean {self.mean_F.shape} and a covariance "
                             f"{self.covariance_FF.shape} are not (F,) and (F, F)")
        if self.count <= width:
            raise InputError(f"{self.count} images are too few for {width} features of {self.net}: "
                             f"their covariance is singular; take more than {width}, better ten "
                             "times as many")
        if not (np.isfinite(self.mean_F).all() and np.isfinite(self.covariance_FF).all()):
            raise EvaluationError(f"features of {self.net} are not finite")


def feature_statistics(net: str, features_NF: Tensor) -> FeatureStatistics:
    """Returns mean and covariance, in double precision.

    Args:
        net: The feature net's name.
        features_NF: Of the images.

    Raises:
        InputError: As of `FeatureStatistics`.
        EvaluationError: Features that are not finite.
    """
    if features_NF.dim() != 2 or len(features_NF) < 2:
        raise InputError(f"features are (N, F) of 2 images or more, not {tuple(features_NF.shape)}")
    values = features_NF.detach().double().cpu()
    mean_F = values.mean(0)
    centred = values - mean_F
    covariance = centred.T @ centred / (len(values) - 1)
    return FeatureStatistics(net, len(values), mean_F.numpy(), covariance.numpy())


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Returns ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), the squared distance of two Gaussians.

    FID where features are Inception's: Heusel et al., arXiv 1706.08500, equation 6. The trace of
    the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric; so no
    root of a general matrix is needed, and singular covariances do no harm.

    Raises:
        InputError: Statistics of two feature nets, or of other widths.
        EvaluationError: A matrix that is no covariance.
    """
    if a.net != b.net or len(a.mean_F) != len(b.mean_F):
        raise InputError(f"features of {a.net} ({len(a.mean_F)}) and of {b.net} "
                         f"({len(b.mean_F)}) cannot be compared; take both from one feature net")
    values, vectors = np.linalg.eigh(a.covariance_FF)
    root = (vectors * np.sqrt(_nonnegative(values))) @ vectors.T
    inner = root @ b.covariance_FF @ root
    cross = np.sqrt(_nonnegative(np.linalg.eigvalsh((inner + inner.T) / 2))).sum()
    difference = a.mean_F - b.mean_F
    return float(difference @ difference + np.trace(a.covariance_FF) + np.trace(b.covariance_FF)
                 - 2 * cross)


def precision_recall(real_NF: Tensor, made_MF: Tensor, *, neighbours: int = NEIGHBOURS
                     ) -> tuple[float, float]:
    """Returns the share of made images among the real ones, and of real among the made, in 0 … 1.

    An image is among others if it is as near to one of them as that one's k-th nearest of its own
    kind: Kynkäänniemi et al., arXiv 1904.06991, section 2.

    Args:
        real_NF: Features of real images.
        made_MF: Features of generated ones, of the same net.
        neighbours: k.

    Raises:
        InputError: Features of other widths, or too few images for k neighbours.
        EvaluationError: Features that are not finite.
    """
    real, made = (features.detach().double() for features in (real_NF, made_MF))
    if real.dim() != 2 or made.dim() != 2 or real.shape[1] != made.shape[1]:
        raise InputError(f"features {tuple(real.shape)} and {tuple(made.shape)} are not (N, F) and "
                         "(M, F)")
    if neighbours < 1 or min(len(real), len(made)) <= neighbours:
        raise InputError(f"{min(len(real), len(made))} images have no {neighbours} neighbours; "
                         "take more")
    if not bool(torch.isfinite(real).all() and torch.isfinite(made).all()):
        raise EvaluationError("features are not finite")
    return (_share_within(made, real, _radii(real, neighbours)),
            _share_within(real, made, _radii(made, neighbours)))


def class_accuracy(logits_MK: Tensor, labels_M: Tensor) -> float:
    """Returns the share of images that a classifier gives the class they were made for, in %.

    Raises:
        InputError: No image, or another number of labels.
    """
    if logits_MK.dim() != 2 or labels_M.shape != logits_MK.shape[:1] or not len(labels_M):
        raise InputError(f"logits {tuple(logits_MK.shape)} and labels {tuple(labels_M.shape)} are "
                         "not (M, K) and (M,)")
    return 100.0 * float((logits_MK.argmax(1) == labels_M).double().mean())


def check_net(net: str, real: str) -> None:
    """Checks that real images have features of the net that generated ones get.

    Raises:
        InputError: They have not.
    """
    if net != real:
        raise InputError(f"real images have features of {real!r}, and the feature net is {net!r}; "
                         "make features of real images with it")


def _nonnegative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Eigenvalues of a covariance are at least 0; below it only by rounding.
    lowest = -1e-10 * max(1.0, float(np.abs(values).max()))
    if values.min() < lowest:
        raise EvaluationError(f"a covariance has the eigenvalue {values.min():.3g} below 0; "
                              "compute the statistics again")
    return np.where(values > 0, values, 0.0)


def _distances(a_NF: Tensor, b_MF: Tensor) -> Tensor:
    # Exact ones: those from a matrix product have rounding errors where images are alike.
    return torch.cdist(a_NF, b_MF, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features_NF: Tensor, neighbours: int) -> Tensor:
    # Each image is its own nearest one.
    return torch.cat([_distances(rows, features_NF).kthvalue(neighbours + 1, dim=1).values
                      for rows in torch.split(features_NF, _ROWS)])


def _share_within(of_MF: Tensor, around_NF: Tensor, radii_N: Tensor) -> float:
    hits = [(_distances(rows, around_NF) <= radii_N).any(1) for rows in torch.split(of_MF, _ROWS)]
    return float(torch.cat(hits).double().mean())
