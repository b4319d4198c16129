"""Progress on stderr, results on stdout."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nas.pipeline.events import Event, Watcher


def print_json(payload: Any) -> None:
    """Prints one JSON value."""
    print(json.dumps(payload, indent=1))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Prints a table; numbers are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*columns, title=title or None, box=box.SIMPLE_HEAD, title_justify="left",
                  pad_edge=False, collapse_padding=True)
    for index, column in enumerate(drawn.columns):
        column.overflow = "fold"
        if rows and all(isinstance(row[index], int | float) for row in rows):
            column.justify = "right"
            column.no_wrap = True
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row))
    Console().print(drawn)


def say(text: str) -> None:
    """Prints a remark on stderr."""
    print(text, file=sys.stderr)


@contextmanager
def progress() -> Iterator[Watcher]:
    """Yields a watcher that draws one bar with an ETA for each stage on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars: dict[str, Any] = {}
    with Progress(TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
                  TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as drawn:
        def watch(event: Event) -> None:
            if event.stage not in bars:
                bars[event.stage] = drawn.add_task(event.stage, total=event.total, note="")
            drawn.update(bars[event.stage], completed=event.done, total=event.total,
                         note=event.note)

        yield watch


def arch_summary(arch: Mapping[str, Any]) -> str:
    """Returns the choices of an architecture's global genes in one short text.

    Stage by stage depth×width, either of them alone where the other is no gene; a resolution is
    ``160px``. The width of a HuBERT is its gene ``embed``. Of a VAR it is the number of bridge
    scales and the depths of those after them.
    """
    if "bridge" in arch:
        depths = (f"{value}×" for gene, value in arch.items() if gene.startswith("scale")
                  and int(gene.removeprefix("scale").partition(".")[0]) > arch["bridge"])
        return " ".join([f"bridge {arch['bridge']}", *depths])
    stages: dict[str, dict[str, Any]] = {}
    for gene, value in arch.items():
        stage, _, name = gene.rpartition(".")
        name = "width" if gene == "embed" else name
        if name in ("width", "depth") and "." not in stage:
            stages.setdefault(stage, {})[name] = value
    shown = [f"{arch['resolution']}px"] if "resolution" in arch else []
    for parts in stages.values():
        depth = f"{parts['depth']}×" if "depth" in parts else ""
        shown.append(f"{depth}{parts.get('width', '')}")
    return " ".join(shown)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
