"""Alembic runs this file; the connection is given by `upgrade`."""

from alembic import context

from arcgate.control.store.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
