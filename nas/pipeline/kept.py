"""Validations that are made once for several searches, and outlive the process."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from nas.core.errors import InputError
from nas.core.files import replace_file
from nas.core.protocols import Evaluator, Executor
from nas.core.trial import Outcome, Trial

Metrics = dict[str, float]


class KeptOutcomes:
    """The `Executor` that has a network validated once, around the one that does the work.

    What succeeds is kept by the network's digest, one JSON line each; what failed is tried again.

    Args:
        executor: Runs what is not kept yet; closed with this.
        path: Of the file, made if absent.

    Raises:
        InputError: The file is damaged.
    """

    def __init__(self, executor: Executor, path: Path) -> None:
        self._executor = executor
        self._path = path
        self._found: dict[str, Metrics] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                digest, metrics = json.loads(line)
                self._found[str(digest)] = dict(metrics)
            except (ValueError, TypeError):
                raise InputError(f"{path}, line {number} is damaged; delete that line and resume"
                                 ) from None

    def __len__(self) -> int:
        return len(self._found)

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there."""
        new = []
        for trial in trials:
            if trial.arch.digest in self._found:
                yield Outcome(trial, dict(self._found[trial.arch.digest]))
            else:
                new.append(trial)
        for outcome in self._executor.run(evaluate, new) if new else ():
            if outcome.final:
                self._keep(outcome.trial.arch.digest, dict(outcome.metrics))
            yield outcome

    def close(self) -> None:
        """Closes the executor that does the work."""
        self._executor.close()

    def _keep(self, digest: str, metrics: Metrics) -> None:
        self._found[digest] = metrics
        with self._path.open("a") as file:
            file.write(json.dumps([digest, metrics]) + "\n")

    def _lines(self) -> list[str]:
        # A line that a killed process did not finish has no newline: it is cut off.
        text = self._path.read_text() if self._path.is_file() else ""
        whole, _, rest = text.rpartition("\n")
        if rest:
            replace_file(self._path, (whole + "\n" if whole else "").encode())
        return whole.splitlines()
