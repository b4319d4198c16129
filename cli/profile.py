"""`nas profile`: latency tables of devices."""

from pathlib import Path
from typing import Annotated

import typer

from cli import profile_remote
from cli.options import Json, Supernet, Threads

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True,
                  help="Measure, check, list and show latency profiles.")
app.command("export")(profile_remote.export)
app.command("import")(profile_remote.import_)


@app.command("run")
def run(
    supernet: Supernet = "mobilenet-fmnist",
    threads: Threads = 1,
    precision: Annotated[str, typer.Option(
        help="Of weights and activations: fp32, fp16 or int8 (static quantisation).")] = "fp32",
    batch: Annotated[int, typer.Option(help="Images of each inference.")] = 1,
    resolution: Annotated[int | None, typer.Option(
        help="Side of the input images in pixels; the supernet's own if absent.")] = None,
    seconds: Annotated[float | None, typer.Option(
        help="Length of a clip of speech; that of the supernet's windows if absent.")] = None,
    provider: Annotated[str, typer.Option(
        help="ONNX Runtime's execution provider, such as cpu, cuda or tensorrt.")] = "cpu",
    allow_contended: Annotated[bool, typer.Option(
        "--allow-contended",
        help="Keep a measurement that was disturbed; the profile says so.")] = False,
    few_shot: Annotated[int | None, typer.Option(
        "--few-shot", metavar="N",
        help="Measure only N whole networks; 20 are plenty. A full profile stays in use.")] = None,
    json: Json = False,
) -> None:
    """Measure this machine for a supernet's space, anew, and store the profile.

    A run that was stopped goes on where it was.
    """
    from cli.render import print_json, progress
    from nas.pipeline.profile import run_profile

    with progress() as watch:
        profile = run_profile(
            supernet, threads=threads, precision=precision, batch=batch, resolution=resolution,
            seconds=seconds, provider=provider, allow_contended=allow_contended,
            few_shot=few_shot, watch=watch)
    if json:
        print_json(profile.model_dump(mode="json"))
    else:
        show_profile(profile.id)


@app.command("import-table")
def import_table(
    table: Annotated[Path, typer.Argument(help="CSV file: key, latency_ms or mean_ms, a row a "
                                               "block.", exists=True, dir_okay=False)],
    about: Annotated[Path, typer.Option(help="TOML file: what device and runtime it is of.")],
    space: Annotated[str, typer.Option(help="A supernet, or module:factory of a space.")],
    only: Annotated[list[str] | None, typer.Option(
        metavar="COLUMN=VALUE", help="Rows with this value alone, such as resolution=224.")] = None,
    json: Json = False,
) -> None:
    """Store a table of block latencies that somebody else measured as a profile."""
    from cli.render import print_json
    from nas.pipeline.profile_table import import_profile_table

    profile = import_profile_table(table, about=about, space=space, only=only or ())
    if json:
        print_json(profile.model_dump(mode="json"))
    else:
        show_profile(profile.id)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the stored profiles."""
    from cli.render import print_json, say, table
    from nas.pipeline.profile import list_profiles

    rows = list_profiles()
    if json:
        print_json(rows)
    elif rows:
        table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        say("no profiles yet; `nas profile run` measures this machine")


@app.command("show")
def show(
    profile: Annotated[str, typer.Argument(help="Id of a stored profile, or a profile file.")],
    json: Json = False,
) -> None:
    """Show what a profile holds and how far it can be trusted."""
    from cli.render import print_json
    from nas.pipeline.profile import load_profile

    if json:
        print_json(load_profile(profile).model_dump(mode="json"))
    else:
        show_profile(profile)


@app.command("check")
def check(
    profile: Annotated[str | None, typer.Argument(
        help="Id of a stored profile, or a profile file; this machine's if absent.")] = None,
    supernet: Supernet = "mobilenet-fmnist",
    nets: Annotated[int, typer.Option(help="Fresh random networks to measure.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the networks drawn.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("profile-check.png"),
    json: Json = False,
) -> None:
    """Measure fresh networks against a profile's predictions. Exit 1 if it no longer holds."""
    from cli.render import print_json, progress, say, table
    from nas.pipeline.profile_check import (
        COLUMNS,
        check_line,
        check_payload,
        check_rows,
        run_check,
    )

    with progress() as watch:
        found = run_check(profile, supernet=supernet, nets=nets, seed=seed, picture=out,
                          watch=watch)
    if json:
        print_json({**check_payload(found), "picture": str(out)})
    else:
        table(COLUMNS, check_rows(found))
        say(f"picture: {out}")
    say(f"nas: {check_line(found)}")
    if not found.verdict.ok:
        raise typer.Exit(1)


def show_profile(name: str) -> None:
    """Prints the table of a profile."""
    from cli.render import table
    from nas.pipeline.profile import describe, load_profile

    table(["", ""], [list(row) for row in describe(load_profile(name))])
