"""`nas report`: a run as a page to send around."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json


def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a search, finished or not.")],
    out: Annotated[Path | None, typer.Option(
        help="File to write; RUN_DIR/report.html if absent.")] = None,
    json: Json = False,
) -> None:
    """Write a run's report: one HTML file that needs nothing else."""
    from cli.render import print_json
    from nas.pipeline.report import write_report

    made = write_report(run_dir, out=out)
    if json:
        print_json({"report": str(made.path), "bytes": made.size, "finished": made.finished,
                    "validations": made.validations, "budget": made.budget})
        return
    if not made.finished:
        print(f"unfinished: {made.validations} of {made.budget} validations; go on with: "
              f"nas search --resume {run_dir}")
    print(f"report: {made.path} ({made.size:,} bytes)")
