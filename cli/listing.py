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


_ONLY_IN_JSON = {Kind.PROXIES: ("source", "saliency")}  # too wide for a terminal


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
        columns = [name for name in rows[0] if name not in _ONLY_IN_JSON.get(kind, ())]
        table(columns, [[row.get(name) for name in columns] for row in rows])
