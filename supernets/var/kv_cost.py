"""The cost model behind ``kv_bytes``: the key-value caches of one image, closed forms of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.core.costs import Estimate
from nas.core.errors import InputError
from nas.core.types import FloatArray, IntArray
from supernets.var.config import VarConfig
from supernets.var.memory import token_bytes
from supernets.var.space import build_space

METRIC = "kv_bytes"


@dataclass(frozen=True)
class KeyValueCosts:
    """The `CostModel` of `memory.kv_bytes` of one image, guided where the net can do that.

    Caches that no later scale needs are freed, as they are by default where images are made.

    Attributes:
        config: The family member.
        key_bytes: Of one number of a key.
        value_bytes: Of one number of a value.
    """

    config: VarConfig
    key_bytes: int = 4
    value_bytes: int = 4

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return {METRIC: "B"}

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the exact bytes of each code; lower = value = upper.

        Raises:
            InputError: A metric that this model does not have.
        """
        _check(metric)
        tokens = (self._layers(codes) * np.array(self.config.ends)).max(axis=1)
        value = tokens.astype(np.float64) * token_bytes(
            self.config, images=1, key_bytes=self.key_bytes, value_bytes=self.value_bytes,
            guided=self.config.rows == 2)
        return Estimate(value, value, value, "exact")

    def block_table(self, metric: str) -> FloatArray | None:
        """Returns None: bytes are no sum over blocks.

        Raises:
            InputError: A metric that this model does not have.
        """
        _check(metric)
        return None

    def _layers(self, codes: IntArray) -> IntArray:
        # (N, scales), the layers that each scale runs.
        config, positions = self.config, build_space(self.config).positions
        bridges = np.array(config.bridges)[codes[:, positions["bridge"]]]
        depths = np.array(config.depths)
        counts = np.full((len(codes), config.scales), config.depth, dtype=np.int64)
        for scale in range(config.bridges[0] + 1, config.scales + 1):
            own = depths[codes[:, positions[f"scale{scale}.depth"]]]
            counts[:, scale - 1] = np.where(bridges >= scale, config.depth, own)
        return counts


def _check(metric: str) -> None:
    if metric != METRIC:
        raise InputError(f"key-value caches have no metric {metric!r}; they have {METRIC!r}")
