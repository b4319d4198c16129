"""Brings the tables of a database to this version's, and binds the database to its folder."""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text

from nas.core.errors import InputError
from nas.service.store.tables import ABOUT, SCHEMA, VERSION_TABLE


def migrate(connection: Connection, *, folder_id: str, where: str) -> None:
    """Makes or changes the tables, all or nothing.

    Args:
        connection: In a transaction that no other of its kind runs beside.
        folder_id: Of the data folder.
        where: The database without its password, for messages.

    Raises:
        InputError: A newer version made them, or for another folder.
    """
    found = _version(connection)
    if found != SCHEMA:
        if found is not None and found not in _known():
            raise InputError(f"database {where} was written by a newer version (schema {found}); "
                             "upgrade nas-service")
        _upgrade(connection)
    owner = connection.execute(select(ABOUT.c.folder)).scalar_one_or_none()
    if owner is None:
        connection.execute(insert(ABOUT).values(folder=folder_id))
    elif owner != folder_id:
        raise InputError(f"database {where} belongs to another data folder (id {owner}, this one "
                         f"is {folder_id}); give that folder as --data, or another --database")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(
        text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    return found


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(_scripts())).walk_revisions()}


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def _scripts() -> Path:
    return Path(__file__).with_name("migrations")
