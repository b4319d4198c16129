"""`nas serve token`: who may use a server, and for what."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json
from cli.serve_options import Database, ServerData, extra_needed, require_data

if TYPE_CHECKING:
    from nas.service.store.tokens import Token, TokenStore

app = typer.Typer(no_args_is_help=True, help="Tokens: who may use a server, and for what.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The user, such as alice.")],
    role: Annotated[str, typer.Option(
        metavar="viewer|runner|admin",
        help="viewer: sees the user's own jobs; runner: also submits and stops them; admin: "
             "everybody's.")],
    data: ServerData = None,
    database: Database = None,
) -> None:
    """Make a token and print it: it cannot be shown again. A user may have several."""
    from typing import get_args

    from cli.render import say
    from nas.core.errors import InputError

    with _tokens(data, database) as tokens:
        from nas.service.store.tokens import Role

        known: dict[str, Role] = {each: each for each in get_args(Role)}
        if role not in known:
            raise InputError(f"--role {role}: there is only {', '.join(known)}")
        token, text = tokens.create(user=name, role=known[role])
    print(text)
    say(f"nas: token {token.id} of {token.user}, {token.role}; keep it, it is not shown again")


@app.command("list")
def list_(data: ServerData = None, database: Database = None, json: Json = False) -> None:
    """List all tokens, without their secrets."""
    from cli.render import print_json, table

    with _tokens(data, database) as tokens:
        rows = [_facts(token) for token in tokens.list()]
    if json:
        print_json(rows)
    else:
        table(["id", "user", "role", "created", "revoked"],
              [[row["id"], row["user"], row["role"], _day(row["created"]), _day(row["revoked"])]
               for row in rows])


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Of the token, see list.")],
    data: ServerData = None,
    database: Database = None,
) -> None:
    """End a token: who has it is refused from now on. Jobs of the user stay."""
    from cli.render import say

    with _tokens(data, database) as tokens:
        ended = tokens.revoke(token)
    say(f"nas: token {ended.id} of {ended.user} is revoked")


@contextmanager
def _tokens(data: Path | None, url: str | None) -> "Iterator[TokenStore]":
    from nas.service.folder import DataDir

    folder = DataDir(require_data(data))
    with extra_needed():
        from nas.service.store.engine import open_database
        from nas.service.store.tokens import TokenStore
    folder.make()
    database = open_database(url, folder)
    try:
        yield TokenStore(database)
    finally:
        database.close()


def _facts(token: "Token") -> dict[str, Any]:
    return {"id": token.id, "user": token.user, "role": token.role, "created": token.created,
            "revoked": token.revoked}


def _day(seconds: float | None) -> str | None:
    import time

    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
