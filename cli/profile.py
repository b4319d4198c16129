"""`nas profile`: latency tables of devices."""

from typing import Annotated

import typer

from cli.options import Json, Supernet, Threads

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True,
                  help="Measure, list and show latency profiles.")


@app.command("run")
def run(supernet: Supernet = "mobilenet-fmnist", threads: Threads = 1, json: Json = False) -> None:
    """Measure this machine for a supernet's space, anew, and store the profile."""
    from cli.render import print_json, progress
    from nas.pipeline.profile import run_profile

    with progress() as watch:
        profile = run_profile(supernet, threads=threads, watch=watch)
    if json:
        print_json(profile.model_dump(mode="json"))
    else:
        _show(profile.id)


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
        _show(profile)


def _show(name: str) -> None:
    from cli.render import table
    from nas.pipeline.profile import describe, load_profile

    table(["", ""], [list(row) for row in describe(load_profile(name))])
