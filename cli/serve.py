"""`nas serve`: searches and other work as jobs over HTTP, for a team."""

import math
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from cli import serve_token
from cli.serve_options import Database, ServerData, extra_needed, require_data

if TYPE_CHECKING:
    from nas.service.settings import Settings

app = typer.Typer(invoke_without_command=True)
app.add_typer(serve_token.app, name="token")


@app.callback()
def serve(
    context: typer.Context,
    data: ServerData = None,
    host: Annotated[str, typer.Option(
        help="Address to listen on. If others than this machine reach it, users need tokens.")]
        = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = 8000,
    slots: Annotated[int, typer.Option(help="Jobs that run at once, a process each.")] = 1,
    database: Database = None,
    ray_address: Annotated[str | None, typer.Option(
        help="Ray cluster that trials run on; this machine if absent.")] = None,
    max_queue: Annotated[int, typer.Option(help="Jobs that may wait; more are refused.")] = 2000,
    max_upload_mb: Annotated[float, typer.Option(
        help="Largest file to upload, in MB (10^6 bytes).")] = 256.0,
    max_job_hours: Annotated[float, typer.Option(
        help="Longest that a job may run, over all its starts.")] = 24.0,
    max_job_trials: Annotated[int, typer.Option(
        help="Largest budget of a search, and number of networks of a ranking.")] = 10_000,
    allow: Annotated[str, typer.Option(
        metavar="paths,code,storage",
        help="What jobs may name all the same, with commas: files outside DIR/data, "
             "module:attribute, storage URLs.")] = "",
    require_token: Annotated[bool, typer.Option(
        "--require-token", help="Ask users of this machine for a token, too.")] = False,
) -> None:
    """Serve searches and other work over HTTP, with a page to submit and watch them.

    Ctrl-C stops the server; jobs that it was at go on when it is started again.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from nas.core.errors import InputError, RunInterrupted
    from nas.service.settings import Settings

    if not math.isfinite(max_upload_mb):
        raise InputError(f"--max-upload-mb {max_upload_mb}: give a number of MB")
    settings = Settings(
        data=require_data(data), host=host, port=port, slots=slots, database=database,
        ray_address=ray_address, max_queue=max_queue,
        max_upload_bytes=round(max_upload_mb * 10**6), max_job_seconds=max_job_hours * 3600,
        max_job_trials=max_job_trials, require_token=require_token,
        allow=frozenset(part.strip() for part in allow.split(",") if part.strip()))
    with extra_needed():
        from nas.service.http.server import run_server

        _require_some_token(settings)
    try:
        run_server(settings)
    except KeyboardInterrupt:  # before it listened; later it ends in order by itself
        raise RunInterrupted("stopped while the server was starting; nothing is lost") from None


def _refuse_options(context: typer.Context) -> None:
    # Options before the word `token` would be read and forgotten.
    from nas.core.errors import InputError

    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} stands before the word {context.invoked_subcommand}; put "
                             "it behind, if it belongs there")


def _require_some_token(settings: "Settings") -> None:
    from nas.core.errors import InputError
    from nas.service.folder import DataDir
    from nas.service.store.engine import open_database
    from nas.service.store.tokens import TokenStore

    if settings.is_loopback and not settings.require_token:
        return
    folder = DataDir(settings.data)
    folder.make()
    database = open_database(settings, folder)
    try:
        usable = any(token.revoked is None for token in TokenStore(database).list())
    finally:
        database.close()
    if not usable:
        why = "--require-token" if settings.require_token else f"--host {settings.host}"
        raise InputError(f"{why}: nobody could use the server, for there is no token yet; make "
                         "one: nas serve token create NAME --role admin --data "
                         f"{shlex.quote(str(settings.data))}")
