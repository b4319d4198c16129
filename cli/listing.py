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
    timm: Annotated[str | None, typer.Option(
        metavar="PATTERN", help="Of supernets: timm's models instead, such as 'mobilenet*'.")
        ] = None,
    json: Json = False,
) -> None:
    """List supernets, devices, proxies, searchers or executors."""
    from cli.render import print_json, table
    from nas.core.errors import InputError
    from nas.pipeline import catalogue

    if timm is not None and kind is not Kind.SUPERNETS:
        raise InputError(f"--timm lists supernets; `nas list supernets --timm '{timm}'`")
    rows: list[dict[str, Any]] = (getattr(catalogue, kind.value)() if timm is None
                                  else catalogue.timm_supernets(timm))
    if json:
        print_json(rows)
    elif rows:
        rows = rows if timm is None else [_short(row) for row in rows]
        columns = [name for name in rows[0] if name not in _ONLY_IN_JSON.get(kind, ())]
        table(columns, [[row.get(name) for name in columns] for row in rows])


def _short(row: dict[str, Any]) -> dict[str, Any]:
    # What fits on a terminal: the size of a space has up to sixty digits, and --json has the rest.
    return {"name": row["name"], "axes": ", ".join(row["axes"]),
            "space_size": f"{row['space_size']:.1e}"}
