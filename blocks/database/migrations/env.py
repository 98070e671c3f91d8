"""Run by alembic; works on the connection, and in the transaction, that its caller opened."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from blocks.database import tables

_ = tables  # Imported for its effect: the tables register themselves in the metadata.

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_server_default=True,
    # SQLite alters a table by making it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
