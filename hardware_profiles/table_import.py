"""A table of block latencies that somebody else measured, as a profile.

The table is a CSV file with a row a block: `key`, `latency_ms` or `mean_ms`, and `std` and `count`
if there are any; further columns, such as a resolution, pick rows. Whatever names blocks have in
it, a function from a block to its key is all that is needed. What device, runtime and source the
times are of stands in a small TOML file beside it.

A network is then the sum of its blocks. Nobody compared that with whole networks, and the profile
says so: it states no error.
"""

import csv
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hardware_profiles.features import OWN_MS
from hardware_profiles.identity import generator_hash, profile_key
from hardware_profiles.profile import (
    Calibration,
    Device,
    Entry,
    HardwareProfile,
    Runtime,
    TableTime,
    Validity,
)
from nas.core.blocks import Block
from nas.core.errors import ProfileError
from nas.core.space import GeneSpace

LATENCY_COLUMNS = ("latency_ms", "mean_ms")
UNCHECKED = ("a table that others measured block by block: the sum of a network's blocks was never "
             "compared with the whole network, so no error is known; sums of isolated blocks are "
             "often tens of percent off, while their order holds")


class TableAbout(BaseModel):
    """What a table's times are of.

    Attributes:
        device: The machine.
        runtime: What executed the blocks, and how.
        source: Where the table comes from, such as an address.
        licence: Of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Device
    runtime: Runtime
    source: str
    licence: str


def read_about(path: Path) -> TableAbout:
    """Returns the description in a TOML file.

    Raises:
        ProfileError: It cannot be read, or a key is missing or unknown.
    """
    try:
        return TableAbout.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ProfileError(f"description {path} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"description {path}: {where}: {first['msg']}; docs/profiles.md has an "
                           "example") from None
    except ValueError as error:  # no TOML, or no text
        raise ProfileError(f"description {path} is no TOML file ({error})") from None


def read_table(path: Path, *, only: Mapping[str, str] | None = None) -> dict[str, TableTime]:
    """Returns the times in a CSV file by key.

    Args:
        path: The file.
        only: Column → value; other rows are passed over unread.

    Raises:
        ProfileError: It cannot be read, lacks a column, has no row left, a key twice, or a time
            that is no positive number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            columns = list(reader.fieldnames or ())
    except OSError as error:
        raise ProfileError(f"table {path} cannot be read ({error.strerror})") from None
    except (csv.Error, ValueError) as error:
        raise ProfileError(f"table {path} is no CSV file ({error})") from None
    latency = next((name for name in LATENCY_COLUMNS if name in columns), None)
    if latency is None or "key" not in columns:
        raise ProfileError(f"table {path} has the columns {', '.join(columns) or '(none)'}; it "
                           f"needs key and {' or '.join(LATENCY_COLUMNS)}")
    for name in only or {}:
        if name not in columns:
            raise ProfileError(f"table {path} has no column {name!r}; it has {', '.join(columns)}")
    found: dict[str, TableTime] = {}
    for line, row in rows:
        if any(row[name] != value for name, value in (only or {}).items()):
            continue
        where = f"table {path}, line {line}"
        if row["key"] in found:
            raise ProfileError(f"{where}: {row['key']!r} is there twice; pick rows by another "
                               "column with --only")
        found[row["key"]] = TableTime(
            latency_ms=_number(row, latency, where), std_ms=_number_or_none(row, "std", where),
            runs=_count(row, where))
    if not found:
        raise ProfileError(f"table {path} has no rows" + "".join(
            f" with {name} {value}" for name, value in (only or {}).items()))
    return found


def import_table(times: Mapping[str, TableTime], about: TableAbout, *, space: GeneSpace,
                 vocabulary: Sequence[Block], key_of: Callable[[Block], str]) -> HardwareProfile:
    """Returns the profile of a table whose blocks are those of a space.

    Args:
        times: Key in the table → time.
        about: What they are of.
        space: The search space.
        vocabulary: Its distinct blocks, each of which the table must have.
        key_of: Block → its key in the table.

    Raises:
        ProfileError: The table lacks a block.
    """
    keys = [key_of(block) for block in vocabulary]
    missing = [key for key in keys if key not in times]
    if missing:
        raise ProfileError(f"the table lacks {len(missing)} of the {len(keys)} blocks of space "
                           f"{space.id}, such as {missing[0]!r}; import it for the space that it "
                           "was measured for")
    generator = generator_hash(space, vocabulary)
    key = profile_key(about.device, about.runtime, space=space.id, generator=generator)
    return HardwareProfile(
        id=key.name("measured"), kind="measured", device=about.device, runtime=about.runtime,
        space=space.id, generator=generator, protocol=None,
        entries=tuple(Entry(key=block.key, timing=times[name])
                      for block, name in zip(vocabulary, keys, strict=True)),
        subnets=(), provenance={"source": about.source}, licence=about.licence,
        calibration=Calibration(
            model="block_sum", coefficients={OWN_MS: 1.0}, calib_count=0, test_count=0,
            held_out=None, lower_ratio=1.0, upper_ratio=1.0),
        validity=Validity(
            input_shape=vocabulary[0].graph.inputs[0].shape, warnings=(UNCHECKED,),
            ops=tuple(sorted({node.kind for block in vocabulary for node in block.graph.nodes}))),
        created=datetime.now(UTC))


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ProfileError(f"{where}: {column} is {row[column]!r}, not a positive number of ms; "
                           "measure that block again or leave the row out")
    return value


def _number_or_none(row: Mapping[str, str | None], column: str, where: str) -> float | None:
    text = row.get(column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ProfileError(f"{where}: {column} is {text!r}, not a number of ms")
    return value


def _count(row: Mapping[str, str | None], where: str) -> int | None:
    text = row.get("count")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ProfileError(f"{where}: count is {text!r}, not a number of runs")
    return int(text)
