"""NAS-Bench-201 as a search space: six edges, five operations each."""

from functools import cached_property

import numpy as np

from nas.core.arch import Arch
from nas.core.space import Gene, GeneSpace
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from supernets.nasbench201.features import (
    built_feature_names,
    built_features,
    cell_features,
    feature_names,
)
from supernets.nasbench201.graph import CONV_3X3, EDGES, NONE, OPERATIONS


class CellSpace(GeneSpace):
    """The 15,625 cells of Dong & Yang 2020, section 2.1; a value of it is `SPACE`.

    Gene ``"2<-1"`` is the operation from node 1 to node 2; its choices stand in the order of the
    published digits.

    Canonical form is the code itself, although edges exist that cannot matter and 15,625 codes
    are fewer networks: the benchmark trained and timed each code by itself, and its figures of
    equal networks differ, by chance and by the time that idle operations take. So the space keeps
    its published size, and `features` tell which networks are equal.
    """

    def features(self, codes: IntArray) -> FloatArray:
        """Returns `supernets.nasbench201.features.cell_features`, (N, F)."""
        return cell_features(codes)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature is, (F,)."""
        return feature_names()

    def built_features(self, codes: IntArray) -> FloatArray:
        """Returns `supernets.nasbench201.features.built_features`, (N, F), for costs."""
        return built_features(codes)

    @cached_property
    def built_feature_names(self) -> tuple[str, ...]:
        """What each built feature is, (F,)."""
        return built_feature_names()

    def extreme(self, *, largest: bool) -> Arch:
        """Returns the cell of 3×3 convolutions alone, or the one without any operation."""
        operation = CONV_3X3 if largest else NONE
        return self.decode(np.full((1, len(EDGES)), operation, dtype=CODE_DTYPE))[0]


SPACE = CellSpace("nasbench201/1", tuple(
    Gene(f"{target}<-{source}", OPERATIONS) for target, source in EDGES))
