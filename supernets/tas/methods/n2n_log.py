"""The rewards that N2N has seen, in a file: what has been trained is not trained again."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.core.errors import DataError
from nas.core.files import replace_file
from nas.core.types import IntArray

_Key = tuple[str, tuple[int, ...]]


@dataclass
class RewardLog:
    """Rewards by stage and code, in the order in which they came.

    Attributes:
        path: Of the file, JSON: the identity, and a list of stage, code and reward.
        identity: What must be equal for a search to be continued.
    """

    path: Path
    identity: Mapping[str, int | float | str]
    _rewards: dict[_Key, float] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, int | float | str]) -> "RewardLog":
        """Returns the log of a file, or an empty one where there is none.

        Raises:
            DataError: The file is damaged or of another search.
        """
        if not path.exists():
            return cls(path, identity)
        try:
            saved = json.loads(path.read_bytes())
            rewards = {_key(row["stage"], row["code"]): _reward(row) for row in saved["rewards"]}
            found = dict(saved["identity"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(f"rewards {path} cannot be read ({reason}); remove the file to start "
                            "anew") from None
        for name, value in identity.items():
            if found.get(name) != value:
                raise DataError(f"rewards {path} are of another search ({name} is "
                                f"{found.get(name)!r} there, {value!r} here); give that again, or "
                                "remove the file to start anew")
        return cls(path, identity, rewards)

    def find(self, stage: str, code: IntArray) -> float | None:
        """Returns the reward of a network, if it is known."""
        return self._rewards.get(_key(stage, code.tolist()))

    def add(self, stage: str, code: IntArray, reward: float) -> None:
        """Keeps a reward, in the file too.

        Raises:
            OSError: It cannot be written.
        """
        self._rewards[_key(stage, code.tolist())] = reward
        rows = [{"stage": stage, "code": list(codes), "reward": value}
                for (stage, codes), value in self._rewards.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(
            {"identity": dict(self.identity), "rewards": rows}).encode())


def _key(stage: str, code: list[int]) -> _Key:
    return str(stage), tuple(map(int, code))


def _reward(row: Mapping[str, Any]) -> float:
    reward = float(row["reward"])
    if not math.isfinite(reward):
        raise ValueError(f"reward {reward}")
    return reward
