"""Ledger entries of one millisecond are told in the order in which they happened."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("ledger_entries", sa.Column("position", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index(
        "ix_ledger_entries_account_occurred_at_position_id",
        "ledger_entries",
        ["account", "occurred_at", "position", "id"],
    )
    op.drop_index("ix_ledger_entries_account_occurred_at_id", "ledger_entries")


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
