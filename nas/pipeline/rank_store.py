"""What a ranking has found out so far: scores and truths that outlive the process."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.core.errors import InputError
from nas.core.files import replace_file

REQUEST, FOUND = "request.json", "found.jsonl"
TRUTH = "truth"  # the column of what scores are compared with


class RankStore:
    """One line a value in ``found.jsonl``: network, column (a proxy's name), value, seconds.

    Args:
        folder: Made if absent; a ranking that was stopped there goes on.
        request: What is ranked how; must be equal for a ranking to go on.

    Raises:
        InputError: The folder holds another ranking, or its file is damaged.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self._path = folder / FOUND
        self.values: dict[tuple[str, str], float] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self.failures: dict[tuple[str, str], str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(request, indent=1, sort_keys=True) + "\n"
        stored = folder / REQUEST
        if stored.is_file() and stored.read_text() != text:
            raise InputError(f"{folder} holds a ranking with other options (see {stored}); give "
                             "another --out")
        if not stored.is_file():
            replace_file(stored, text.encode())
        for number, line in enumerate(self._lines(), start=1):
            try:
                network, column, value, seconds, failure = json.loads(line)
                self._take(str(network), str(column), value, float(seconds), failure)
            except (ValueError, TypeError):
                raise InputError(f"{self._path}, line {number} is damaged; delete that line and "
                                 "run it again") from None

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self.values

    def add(self, network: str, column: str, value: float, seconds: float,
            failure: str | None = None) -> None:
        """Keeps a value; NaN where it could not be computed, with the reason."""
        self._take(network, column, value, seconds, failure)
        row = [network, column, None if math.isnan(value) else value, seconds, failure]
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _lines(self) -> list[str]:
        # A line that a killed process did not finish has no newline: it is cut off.
        text = self._path.read_text() if self._path.is_file() else ""
        whole, _, rest = text.rpartition("\n")
        if rest:
            replace_file(self._path, (whole + "\n" if whole else "").encode())
        return whole.splitlines()

    def _take(self, network: str, column: str, value: float | None, seconds: float,
              failure: str | None) -> None:
        self.values[network, column] = math.nan if value is None else float(value)
        self.seconds[network, column] = seconds
        if failure is not None:
            self.failures[network, column] = failure
