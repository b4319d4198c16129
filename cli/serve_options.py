"""What the verbs of the server share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

ServerData = Annotated[Path | None, typer.Option(
    envvar="NAS_SERVE_DATA", metavar="DIR",
    help="Folder of jobs, uploads and tokens; made if absent.")]
Database = Annotated[str | None, typer.Option(
    envvar="NAS_SERVE_DATABASE", metavar="URL", show_envvar=True,
    help="postgresql+psycopg://USER:PASSWORD@HOST/NAME; a file in --data if absent.")]

# Modules that the extra brings; psycopg is asked for by those who name a PostgreSQL.
_EXTRA = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "prometheus_client",
          "fastapi_offline")


@contextmanager
def extra_needed() -> Iterator[None]:
    """Says how to install what is not there.

    Raises:
        InputError: A module of the extra is missing.
    """
    from nas.core.errors import InputError

    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
        raise InputError(f"{name} is not installed; pip install 'nas-service[serve]' brings what "
                         "a server needs") from None


def require_data(data: Path | None) -> Path:
    """Returns the data folder.

    Raises:
        InputError: None is named.
    """
    from nas.core.errors import InputError

    if data is None:
        raise InputError("--data DIR is missing: the folder of jobs, uploads and tokens; it is "
                         "made if absent")
    return data
