"""Alembic's entry: runs the migrations on the connection that `gateway.ledger.migrate` passes."""

from alembic import context

from gateway.ledger.sales import all_tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=all_tables)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
