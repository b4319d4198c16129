"""The use-case of `nas report`, and the last step of a search: a run folder → one HTML file."""

from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import InputError
from nas.core.files import replace_file
from nas.pipeline.reporting.facts import read_facts
from nas.pipeline.reporting.page import render
from nas.pipeline.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class Report:
    """Where a report is, its size in bytes, and whether its search had finished."""

    path: Path
    size: int
    finished: bool
    validations: int
    budget: int


def write_report(run_dir: Path, *, out: Path | None = None) -> Report:
    """Writes the report of a run, finished or not; nothing else in its folder changes.

    Args:
        run_dir: Of a search.
        out: The file to write; ``report.html`` in the run folder if absent.

    Raises:
        InputError: No run folder, a damaged file in it, or a place that cannot be written.
    """
    facts = read_facts(run_dir)
    path = out or RunDir(run_dir).report
    data = render(facts).encode()
    try:
        replace_file(path, data)
    except OSError as error:
        raise InputError(f"report {path} cannot be written ({error.strerror}); give --out a file "
                         "in a folder that can") from None
    return Report(path, len(data), facts.finished, facts.spent, facts.config.budget)
