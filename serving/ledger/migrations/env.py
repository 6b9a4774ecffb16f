"""What alembic runs for every command: the revisions, on the connection that ``schema`` has open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
