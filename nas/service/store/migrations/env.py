"""Runs migrations on the connection that `nas.service.store.migrate` gives; alembic loads it."""

from alembic import context

from nas.service.store.tables import METADATA, VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA,
                  version_table=VERSION_TABLE, transactional_ddl=True)
context.run_migrations()
