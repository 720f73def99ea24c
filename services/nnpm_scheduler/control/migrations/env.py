"""Runs the migrations on the connection that `nnpm.sql.database.Database.migrate` hands over."""

from alembic import context

from nnpm_scheduler.control.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
