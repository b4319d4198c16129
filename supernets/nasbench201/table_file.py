"""Tables of published figures of NAS-Bench-201, read from CSV files.

A file has a column ``ops`` with six digits a row, one row an architecture, and further columns of
numbers. It is given by path; none is part of the package.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.errors import ArchError, DataError, EvaluationError, InputError
from nas.core.types import FloatArray, IntArray
from supernets.nasbench201.graph import OPERATIONS
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.text import codes_of_ops

_Row = Mapping[str | Any, str | Any]

_PLACES = len(OPERATIONS) ** np.arange(len(SPACE.genes))[::-1]


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file, in ascending order of their digits.

    Attributes:
        path: Of the file, for messages.
        codes: (N, 6); the whole space, unless the file was read as incomplete.
        columns: Name → finite values (N,).
    """

    path: Path
    codes: IntArray
    columns: Mapping[str, FloatArray]

    def column(self, name: str) -> FloatArray:
        """Returns the values of one column, (N,).

        Raises:
            InputError: No such column; the message has those there are.
        """
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {name!r}; it has "
                             f"{', '.join(self.columns)}")
        return self.columns[name]

    def rows(self, codes: IntArray) -> IntArray:
        """Returns the row of each code, (M,).

        Raises:
            EvaluationError: An architecture that the table does not have.
        """
        rows: IntArray = self._row_of[codes @ _PLACES]
        if (rows < 0).any():
            missing = "".join(str(digit) for digit in codes[int(rows.argmin())].tolist())
            raise EvaluationError(f"{self.path} has no architecture {missing}; give a complete "
                                  "table or search among its rows")
        return rows

    @cached_property
    def _row_of(self) -> IntArray:
        rows = np.full(SPACE.size, -1)
        rows[self.codes @ _PLACES] = np.arange(len(self.codes))
        return rows


def read_table(path: Path, *, complete: bool = True) -> Table:
    """Reads a table.

    Args:
        path: Of a CSV file with the column ``ops`` and columns of numbers.
        complete: Whether it must have each of the 15,625 architectures.

    Raises:
        DataError: The file is missing or no such table, or a row is malformed, not finite or
            there twice, or rows are missing from a complete table.
    """
    header, rows = _read_rows(path)
    if complete and len(rows) != SPACE.size:
        raise DataError(f"{path} has {len(rows)} rows and not the {SPACE.size} architectures of "
                        f"{SPACE.id}; fetch the file again, or read it with complete=False")
    names = [name for name in header if name != "ops"]
    codes = np.array([_code(path, line, row) for line, row in rows])
    values = np.array([_numbers(path, line, row, names) for line, row in rows])
    places = codes @ _PLACES
    order = np.argsort(places, kind="stable")
    repeated = np.flatnonzero(np.diff(places[order]) == 0)
    if repeated.size:
        line, row = rows[int(order[repeated[0] + 1])]
        raise DataError(f"{path}, line {line}: architecture {row['ops']} is there twice; remove "
                        "one of its rows")
    columns = {name: values[order, column] for column, name in enumerate(names)}
    return Table(path, codes[order], columns)


def _read_rows(path: Path) -> tuple[Sequence[str], list[tuple[int, _Row]]]:
    # The header, and each row with the number of its line.
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows: list[tuple[int, _Row]] = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV table ({error}); give the path of a "
                        "file with a column 'ops'") from None
    header = reader.fieldnames or ()
    if "ops" not in header:
        raise DataError(f"{path} has no column 'ops' with six digits a row; it has "
                        f"{', '.join(header) or 'nothing'}")
    if len(set(header)) < len(header):
        raise DataError(f"{path} has two columns of one name; rename one")
    if not rows:
        raise DataError(f"{path} has no rows below its header; fetch the file again")
    return header, rows


def _code(path: Path, line: int, row: _Row) -> IntArray:
    try:
        return codes_of_ops(row["ops"] or "")
    except ArchError as error:
        raise DataError(f"{path}, line {line}: {error}") from None


def _numbers(path: Path, line: int, row: _Row, names: Sequence[str]) -> list[float]:
    if None in row:  # where csv puts what is left over
        raise DataError(f"{path}, line {line}: more fields than the header has columns")
    numbers = []
    for name in names:
        text = row[name]
        try:
            number = float(text or "")
        except ValueError:
            raise DataError(f"{path}, line {line}: column {name!r} has {text!r} where a number "
                            "belongs") from None
        if not np.isfinite(number):
            raise DataError(f"{path}, line {line}: column {name!r} is {number}, which is not "
                            "finite; remove the row or the column")
        numbers.append(number)
    return numbers
