"""The front that a finished search has found, for training around it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.arch import make_arch
from nas.core.errors import ArchError, InputError
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from nas.pipeline.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class SearchedFront:
    """The Pareto front of a run.

    Attributes:
        run_dir: Of the run.
        space: Id of its space.
        choices: Of each network, gene → value.
    """

    run_dir: Path
    space: str
    choices: Sequence[Mapping[str, Any]]

    @property
    def described(self) -> str:
        """The folder's name, how many networks there are, and digits that others would change."""
        text = json.dumps([self.space, *map(dict, self.choices)], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.run_dir.resolve().name} ({len(self.choices)} networks, sha256 {digest})"

    def codes(self, space: GeneSpace) -> IntArray:
        """Returns the networks as codes (N, genes).

        Raises:
            InputError: They are of another space.
        """
        if self.space != space.id:
            raise InputError(f"--front {self.run_dir} is a search of {self.space}, and {space.id} "
                             "is trained; give a search of a supernet that was made with the same "
                             "model, images and options")
        try:
            return space.encode([make_arch(space, choices) for choices in self.choices])
        except ArchError as error:
            raise InputError(f"{RunDir(self.run_dir).pareto} is damaged ({error}); search "
                             "again") from None


def read_front(run_dir: Path) -> SearchedFront:
    """Returns the front of a finished search.

    Raises:
        InputError: There is none in the folder, or its files are damaged.
    """
    run, config, profile = RunDir.open(run_dir)
    if config.compare:
        raise InputError(f"--front {run_dir} holds a comparison of searchers, which has no one "
                         "front; give the folder of a search")
    if not run.pareto.exists():
        raise InputError(f"the search in {run_dir} has not finished; go on with: nas search "
                         f"--resume {run_dir}")
    try:
        found = json.loads(run.pareto.read_bytes())
        choices = [dict(point["arch"]) for point in found["pareto"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{run.pareto} cannot be read ({error}); search again") from None
    return SearchedFront(run_dir, profile.space, choices)
