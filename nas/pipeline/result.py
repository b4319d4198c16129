"""What a finished search gives, for those who only hold it: no torch is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes:
        run_dir: Its folder.
        payload: The contents of ``pareto.json``.
    """

    run_dir: Path
    payload: Mapping[str, Any]
