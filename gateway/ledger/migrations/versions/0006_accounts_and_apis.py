"""What the APIs need: totals by account and bucket, grants, admin and license keys, the audit log, notices; sessions,
purposes and reports of usage.

The sums are made of the entries that are there. Of older grants, priority and expiry are not known: they stand in Redis
alone, and `quotagate reconcile --fix` copies them here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

INSTANT = sa.DateTime(timezone=True)
EMPTY = sa.text("''")

#: Entries that say what a call cost, as against what an account was given.
SPENT = "('USAGE', 'REFUND', 'LICENSE_USE')"
BUCKETS = "bucket <> 'overdraft'"


def upgrade() -> None:
    _accounts()
    _operators()
    _usage()
    _notices()
    _sum_up()


def _accounts() -> None:
    op.add_column("accounts", sa.Column("status_set_at", INSTANT))
    op.add_column("accounts", sa.Column("granted", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("accounts", sa.Column("spent", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("accounts", sa.Column("email", sa.String(320), nullable=False, server_default=EMPTY))
    op.add_column("accounts", sa.Column("erased_at", INSTANT))
    op.create_index("ix_accounts_used_tokens_id", "accounts", ["used_tokens", "id"])
    op.create_index("ix_accounts_last_seen_at_id", "accounts", ["last_seen_at", "id"])
    op.create_index("ix_accounts_tier_id", "accounts", ["tier", "id"])
    op.create_index("ix_accounts_email", "accounts", ["email"])
    op.create_table(
        "account_buckets",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("bucket", sa.String(220), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "bucket", name="pk_account_buckets"),
    )
    op.create_table(
        "grants",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(1000)),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("expires_at", INSTANT),
        sa.Column("granted_at", INSTANT, nullable=False),
        sa.Column("voided_at", INSTANT),
        sa.PrimaryKeyConstraint("account", "id", name="pk_grants"),
    )


def _operators() -> None:
    op.create_table(
        "admin_keys",
        sa.Column("prefix", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(1000), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        sa.PrimaryKeyConstraint("prefix", name="pk_admin_keys"),
        sa.UniqueConstraint("digest", name="uq_admin_keys_digest"),
    )
    op.create_table(
        "license_keys",
        sa.Column("prefix", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("name", sa.String(100), nullable=False, server_default=EMPTY),
        sa.Column("trial", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.PrimaryKeyConstraint("prefix", name="pk_license_keys"),
        sa.UniqueConstraint("digest", name="uq_license_keys_digest"),
    )
    op.create_index("ix_license_keys_owner", "license_keys", ["owner"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(220), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False, server_default=EMPTY),
        sa.Column("before", sa.Text, nullable=False, server_default=EMPTY),
        sa.Column("after", sa.Text, nullable=False, server_default=EMPTY),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_occurred_at_id", "audit_log", ["occurred_at", "id"])
    op.create_index("ix_audit_log_target_occurred_at_id", "audit_log", ["target", "occurred_at", "id"])


def _usage() -> None:
    op.add_column("usage_events", sa.Column("session", sa.String(200), nullable=False, server_default=EMPTY))
    op.add_column("usage_events", sa.Column("purpose", sa.String(200), nullable=False, server_default=EMPTY))
    op.add_column("usage_events", sa.Column("details", sa.Text, nullable=False, server_default=EMPTY))
    op.add_column("usage_events", sa.Column("reported_tokens", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index(
        "ix_usage_events_session", "usage_events", ["account", "session", "occurred_at", "id"],
        sqlite_where=sa.text("session <> ''"), postgresql_where=sa.text("session <> ''"),
    )  # fmt: skip
    op.add_column("usage_daily", sa.Column("reported_tokens", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("ledger_entries", sa.Column("operation", sa.String(64), nullable=False, server_default=EMPTY))


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String(450), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    op.create_index("ix_notices_account", "notices", ["account"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(470), nullable=False),
        sa.Column("notice", sa.String(450), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_try_at", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT),
        sa.Column("last_error", sa.String(500), nullable=False, server_default=EMPTY),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_status_next_try_at", "deliveries", ["status", "next_try_at"])
    op.create_table(
        "reports_to_apply",
        sa.Column("id", sa.String(120), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reports_to_apply"),
    )


def _sum_up() -> None:
    op.execute(
        "INSERT INTO account_buckets (account, bucket, amount) SELECT account, bucket, sum(amount) FROM ledger_entries "
        f"WHERE {BUCKETS} GROUP BY account, bucket HAVING sum(amount) <> 0"
    )
    for column, sign, kinds in (("granted", "", "NOT IN"), ("spent", "-", "IN")):
        op.execute(
            f"UPDATE accounts SET {column} = coalesce((SELECT {sign}sum(amount) FROM ledger_entries e "
            f"WHERE e.account = accounts.id AND {BUCKETS} AND e.kind {kinds} {SPENT}), 0)"
        )
    op.execute(
        "INSERT INTO grants (account, id, kind, amount, reason, granted_at) "
        "SELECT account, substr(bucket, 9), kind, amount, reason, occurred_at FROM ledger_entries "
        "WHERE bucket LIKE 'credits:%' AND amount > 0 AND kind IN "
        "('SIGNUP', 'TOP_UP', 'ADJUSTMENT', 'SUBSCRIPTION', 'REFERRAL', 'REWARD') ON CONFLICT DO NOTHING"
    )


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
