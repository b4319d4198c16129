"""`nas list`: what can be named on the command line."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.options import Json


class Kind(StrEnum):
    """What can be listed."""

    SUPERNETS = "supernets"
    DEVICES = "devices"
    PROXIES = "proxies"
    SEARCHERS = "searchers"
    EXECUTORS = "executors"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    json: Json = False,
) -> None:
    """List supernets, devices, proxies, searchers or executors."""
    from cli.render import print_json, table
    from nas.pipeline import catalogue

    rows: list[dict[str, Any]] = getattr(catalogue, kind.value)()
    if json:
        print_json(rows)
    elif rows:
        table(list(rows[0]), [list(row.values()) for row in rows])
