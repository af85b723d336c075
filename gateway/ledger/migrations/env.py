"""Alembic's entry: runs the migrations on the connection that `gateway.ledger.migrate` passes."""

from alembic import context

from gateway.ledger.sales import ALL

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=ALL)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
