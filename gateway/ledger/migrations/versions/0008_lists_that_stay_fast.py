"""Indexes for what people list: entries and calls of a kind, operation or model; accounts by the beginning of their
id or address, by status and zone; acts of an operator.

Some are partial, as what they leave out is most of the table and needs them least: entries of calls, active accounts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _partial(
        "ix_ledger_entries_kind",
        "ledger_entries",
        ["account", "kind", "occurred_at", "position", "id"],
        "kind <> 'USAGE'",
    )
    # Behind what lists are sorted by stands what they are filtered by: one index to write, and no row is read in vain.
    _widen("ledger_entries", ["account", "occurred_at", "position", "id"], ["operation"])
    _widen("usage_events", ["account", "occurred_at", "id"], ["operation", "model"])
    _partial("ix_accounts_status", "accounts", ["status", "id"], "status <> 'active'")
    _partial("ix_accounts_zone", "accounts", ["zone", "id"], "zone <> ''")
    op.drop_index("ix_accounts_email", "accounts")
    # Byte by byte: whatever the database's language, those that begin alike then stand together.
    op.create_index("ix_accounts_email", "accounts", ["email"], postgresql_ops={"email": "varchar_pattern_ops"})
    op.create_index("ix_accounts_prefix", "accounts", ["id"], postgresql_ops={"id": "varchar_pattern_ops"})
    op.create_index("ix_audit_log_actor_occurred_at_id", "audit_log", ["actor", "occurred_at", "id"])


def _widen(table: str, columns: list[str], more: list[str]) -> None:
    op.drop_index(f"ix_{table}_{'_'.join(columns)}", table)
    op.create_index(f"ix_{table}_{'_'.join(columns + more)}", table, columns + more)


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
