"""What is sold and given: orders and their payments, subscriptions, redemption codes, referrals, rewards; and what
credits ever gained and lost, by kind, which is summed up of the entries that are there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INSTANT = sa.DateTime(timezone=True)
EMPTY = sa.text("''")
#: Rows of these are never changed or deleted.
FIXED = ("order_steps", "subscription_steps")


def upgrade() -> None:
    _credits()
    _orders()
    _subscriptions()
    _rewards()
    _sum_up()
    _fix()


def _credits() -> None:
    op.create_table(
        "credits_due",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("cause", sa.String(220), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("granted_at", INSTANT),
        sa.Column("last_error", sa.String(500), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("account", "id", name="pk_credits_due"),
    )
    op.create_index("ix_credits_due_cause", "credits_due", ["cause"])
    _partial("ix_credits_due_waiting", "credits_due", ["created_at"], "granted_at IS NULL")
    op.create_table(
        "credit_totals",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "kind", name="pk_credit_totals"),
    )


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("write_id", sa.String(120), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("item", sa.String(64), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("bonus", sa.BigInteger, nullable=False),
        sa.Column("valid_days", sa.Integer, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("provider_id", sa.String(120), server_default=EMPTY, nullable=False),
        sa.Column("instruction", sa.Text, server_default=EMPTY, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("subscription", sa.String(40), server_default=EMPTY, nullable=False),
        sa.Column("period", sa.Integer, server_default="0", nullable=False),
        sa.Column("note", sa.String(1000), server_default=EMPTY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("paid_at", INSTANT),
        sa.Column("credited_at", INSTANT),
        sa.Column("next_poll_at", INSTANT),
        sa.Column("polls", sa.Integer, server_default="0", nullable=False),
        sa.Column("asked_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("write_id", name="uq_orders_write_id"),
    )
    op.create_index("ix_orders_account_created_at_id", "orders", ["account", "created_at", "id"])
    op.create_index("ix_orders_created_at_id", "orders", ["created_at", "id"])
    _partial("ix_orders_poll", "orders", ["next_poll_at"], "next_poll_at IS NOT NULL")
    op.create_index("ix_orders_provider_id", "orders", ["provider_id"])
    op.create_index("ix_orders_state_created_at_id", "orders", ["state", "created_at", "id"])
    _partial("ix_orders_subscription", "orders", ["subscription", "period"], "subscription <> ''")
    op.create_table(
        "order_steps",
        sa.Column("order", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("state_before", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(200), nullable=False),
        sa.Column("note", sa.String(1000), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("order", "number", name="pk_order_steps"),
    )
    op.create_table(
        "payments",
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("id", sa.String(120), nullable=False),
        sa.Column("order", sa.String(40), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("channel", sa.String(64), server_default=EMPTY, nullable=False),
        sa.Column("paid_at", INSTANT),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("provider", "id", name="pk_payments"),
    )
    op.create_index("ix_payments_order", "payments", ["order"])
    op.create_index("ix_payments_provider_paid_at", "payments", ["provider", "paid_at"])
    _partial("uq_payments_counted", "payments", ["order"], "counted", unique=True)
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.String(220), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("reference_id", sa.String(120), nullable=False),
        sa.Column("provider_id", sa.String(120), nullable=False),
        sa.Column("payment_id", sa.String(120), nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("note", sa.String(500), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
    )
    op.create_index("ix_webhook_events_received_at", "webhook_events", ["received_at"])
    op.create_index("ix_webhook_events_reference_id", "webhook_events", ["reference_id"])
    op.create_table(
        "refunds",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("write_id", sa.String(120), nullable=False),
        sa.Column("order", sa.String(40), nullable=False),
        sa.Column("payment", sa.String(120), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("grants", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("provider_id", sa.String(120), server_default=EMPTY, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("note", sa.String(1000), server_default=EMPTY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("next_poll_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_refunds"),
        sa.UniqueConstraint("write_id", name="uq_refunds_write_id"),
    )
    op.create_index("ix_refunds_order", "refunds", ["order"])
    _partial("ix_refunds_poll", "refunds", ["next_poll_at"], "next_poll_at IS NOT NULL")
    op.create_table(
        "payment_differences",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("order", sa.String(40), server_default=EMPTY, nullable=False),
        sa.Column("payment", sa.String(120), server_default=EMPTY, nullable=False),
        sa.Column("note", sa.String(1000), nullable=False),
        sa.Column("found_at", INSTANT, nullable=False),
        sa.Column("resolved_at", INSTANT),
        sa.Column("resolved_by", sa.String(200), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_payment_differences"),
    )
    op.create_index("ix_payment_differences_found_at_id", "payment_differences", ["found_at", "id"])


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("write_id", sa.String(120), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("anchor", sa.String(10), server_default=EMPTY, nullable=False),
        sa.Column("zone", sa.String(64), server_default=EMPTY, nullable=False),
        sa.Column("reset_hour", sa.Integer, server_default="0", nullable=False),
        sa.Column("period", sa.Integer, server_default="0", nullable=False),
        sa.Column("period_starts_at", INSTANT),
        sa.Column("period_ends_at", INSTANT),
        sa.Column("tier_ends_at", INSTANT),
        sa.Column("tier_after", sa.String(64), server_default=EMPTY, nullable=False),
        sa.Column("cancel_at_end", sa.Boolean, nullable=False),
        sa.Column("next_plan", sa.String(64), server_default=EMPTY, nullable=False),
        sa.Column("next_order", sa.String(40), server_default=EMPTY, nullable=False),
        sa.Column("upgrade_order", sa.String(40), server_default=EMPTY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("next_act_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.UniqueConstraint("write_id", name="uq_subscriptions_write_id"),
    )
    op.create_index("ix_subscriptions_account_created_at_id", "subscriptions", ["account", "created_at", "id"])
    _partial("ix_subscriptions_act", "subscriptions", ["next_act_at"], "next_act_at IS NOT NULL")
    op.create_index("ix_subscriptions_created_at_id", "subscriptions", ["created_at", "id"])
    _partial("uq_subscriptions_living", "subscriptions", ["account"], "state <> 'ended'", unique=True)
    op.create_table(
        "subscription_steps",
        sa.Column("subscription", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("cause", sa.String(200), nullable=False),
        sa.Column("note", sa.String(1000), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("subscription", "number", name="pk_subscription_steps"),
    )


def _rewards() -> None:
    op.create_table(
        "code_batches",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("write_id", sa.String(120), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.Column("per_account", sa.Integer, nullable=False),
        sa.Column("valid_days", sa.Integer, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("voided_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_code_batches"),
        sa.UniqueConstraint("write_id", name="uq_code_batches_write_id"),
    )
    op.create_index("ix_code_batches_created_at_id", "code_batches", ["created_at", "id"])
    op.create_table(
        "codes",
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("batch", sa.String(40), nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_codes"),
    )
    op.create_index("ix_codes_batch", "codes", ["batch"])
    op.create_table(
        "redemptions",
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("write_id", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("code", "account", "number", name="pk_redemptions"),
        sa.UniqueConstraint("write_id", name="uq_redemptions_write_id"),
    )
    op.create_index("ix_redemptions_account_at", "redemptions", ["account", "at"])
    op.create_table(
        "referral_codes",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("account", name="pk_referral_codes"),
        sa.UniqueConstraint("code", name="uq_referral_codes_code"),
    )
    op.create_table(
        "referrals",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("referrer", sa.String(200), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("rewarded_at", INSTANT),
        sa.Column("refused", sa.String(200), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("account", name="pk_referrals"),
    )
    op.create_index("ix_referrals_referrer", "referrals", ["referrer"])
    _partial("ix_referrals_waiting", "referrals", ["at"], "rewarded_at IS NULL AND refused = ''")
    op.create_table(
        "claims",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("rule", sa.String(80), nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("write_id", sa.String(120), server_default=EMPTY, nullable=False),
        sa.Column("streak", sa.Integer, server_default="0", nullable=False),
        sa.Column("clock", sa.String(80), server_default=EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("account", "rule", "period", name="pk_claims"),
    )


def _partial(name: str, table: str, columns: list[str], where: str, unique: bool = False) -> None:
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )  # fmt: skip


def _sum_up() -> None:
    op.execute(
        "INSERT INTO credit_totals (account, kind, amount) SELECT account, kind, sum(amount) FROM ledger_entries "
        "WHERE bucket LIKE 'credits:%' GROUP BY account, kind"
    )


def _fix() -> None:
    for table in FIXED:
        why = f"rows of {table} are never changed or deleted: a correction is a new row"
        if op.get_bind().dialect.name == "postgresql":
            name = f"quotagate_{table}_fixed"
            op.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN RAISE EXCEPTION '{why}' USING ERRCODE = 'restrict_violation'; END $$"
            )
            op.execute(
                f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
        else:
            refuse = f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
            for change in ("UPDATE", "DELETE"):
                trigger = f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} {refuse}"
                op.execute(sa.text(trigger.replace(":", r"\:")))  # It would begin a parameter.


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
