"""The tables; those of what is sold and given stand in `sales`. `migrations/` makes them; a test holds them equal.

Rows of `usage_events`, `ledger_entries` and `audit_log` are never changed or deleted, which the database holds by
triggers: a correction is a new row that names the same reservation. Amounts are signed 64-bit integers of the smallest
unit, instants are UTC.

`accounts`, `account_buckets`, `credit_totals`, `grants` and `usage_daily` sum those rows up; the transaction that
writes a row adds it to them. What operators made stands in `api_keys`, `admin_keys`, `license_keys`; what still has to
go somewhere in `notices`, `deliveries` and `reports_to_apply`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


#: A default is written out, as Alembic cannot compare an empty word.
EMPTY = text("''")


class Instant(TypeDecorator[datetime]):
    """An instant in UTC. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name != "sqlite" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of some rows: a query that means them must say so in these words."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


accounts = Table(
    "accounts",
    metadata,
    Column("id", String(200), primary_key=True),
    #: As they stand in Redis, so that it can be rebuilt from here.
    Column("tier", String(64)),
    Column("zone", String(64)),
    #: When the account was opened on, or moved to, this tier: an event from before changes nothing.
    Column("tier_set_at", Instant),
    Column("status", String(16), nullable=False, server_default="active"),
    #: The same for its status.
    Column("status_set_at", Instant),
    #: Tokens used since the account was opened, all calls, those that were reported from outside included.
    Column("used_tokens", BigInteger, nullable=False, server_default="0"),
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    #: Units it was ever given, less what expired, was voided or adjusted; and units it spent. The difference is the sum
    #: of its buckets.
    Column("granted", BigInteger, nullable=False, server_default="0"),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    #: Where its owner is told things; the one thing here that is known of a person.
    Column("email", String(320), nullable=False, server_default=EMPTY),
    #: When its personal data was deleted.
    Column("erased_at", Instant),
    # The admin's list, by whatever it can be sorted and filtered by.
    Index(None, "used_tokens", "id"),
    Index(None, "last_seen_at", "id"),
    Index(None, "tier", "id"),
    partial("ix_accounts_status", "status", "id", where="status <> 'active'"),
    partial("ix_accounts_zone", "zone", "id", where="zone <> ''"),
    # By their beginning, in whatever order the database has words.
    Index("ix_accounts_email", "email", postgresql_ops={"email": "varchar_pattern_ops"}),
    Index("ix_accounts_prefix", "id", postgresql_ops={"id": "varchar_pattern_ops"}),
)

#: What each bucket of an account has: left and held together, as holds are no entries. A bucket at 0 has no row.
account_buckets = Table(
    "account_buckets",
    metadata,
    Column("account", String(200), primary_key=True),
    #: Such as "day:2026-11-20" or "credits:signup".
    Column("bucket", String(220), primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

#: Every grant for good: what makes a grant credit once, should Redis have to be rebuilt.
grants = Table(
    "grants",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("id", String(200), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", String(1000)),
    #: Burned lowest first.
    Column("priority", Integer, nullable=False, server_default="0"),
    #: None: never.
    Column("expires_at", Instant),
    Column("granted_at", Instant, nullable=False),
    #: When an operator took back what it had left.
    Column("voided_at", Instant),
)

api_keys = Table(
    "api_keys",
    metadata,
    #: The public beginning of the key, which names it in lists and ledger rows.
    Column("prefix", String(32), primary_key=True),
    #: SHA-256 of the whole key, hexadecimal. The key itself is stored nowhere.
    Column("digest", String(64), nullable=False, unique=True),
    Column("account", String(200), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    #: For people: where the key is used.
    Column("name", String(100), nullable=False, server_default=EMPTY),
    Column("team", String(200), nullable=False, server_default=EMPTY),
    Column("organisation", String(200), nullable=False, server_default=EMPTY),
    #: Operations it may be used for, with spaces between them; "": all.
    Column("scopes", String(1000), nullable=False, server_default=EMPTY),
    #: Limits of its own, with "; " between them.
    Column("limits", String(1000), nullable=False, server_default=EMPTY),
    #: None: never.
    Column("expires_at", Instant),
)

#: Keys of operators, for the admin API.
admin_keys = Table(
    "admin_keys",
    metadata,
    Column("prefix", String(32), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    #: Who acts with it, as the audit log names them.
    Column("name", String(100), nullable=False),
    #: What it may do, with spaces between: "accounts:read accounts:write …"; "*": everything.
    Column("scopes", String(1000), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

#: A license is an account of its own, `license:PREFIX`, that belongs to another.
license_keys = Table(
    "license_keys",
    metadata,
    Column("prefix", String(32), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("owner", String(200), nullable=False, index=True),
    Column("name", String(100), nullable=False, server_default=EMPTY),
    #: Whether it is one to try things with.
    Column("trial", Boolean, nullable=False),
    #: "active", "suspended" or "revoked", and "opening" until its key is made and shown. Whether it is used up or past
    #: its time shows elsewhere.
    Column("status", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
)

#: What operators did: one row an act, and never another.
audit_log = Table(
    "audit_log",
    metadata,
    #: The act's own: a repeat of it writes no second row.
    Column("id", String(200), primary_key=True),
    Column("occurred_at", Instant, nullable=False),
    #: "admin:NAME" by an admin key, "cli:USER" by the command line, "cron" by the cron secret.
    Column("actor", String(200), nullable=False),
    #: Such as "account.set_tier".
    Column("action", String(64), nullable=False),
    #: What it was done to, such as "account:alice" or "api_key:qg_AbCdEfGh".
    Column("target", String(220), nullable=False),
    Column("reason", String(1000), nullable=False, server_default=EMPTY),
    #: As JSON objects; only what the act is about, and no secret.
    Column("before", Text, nullable=False, server_default=EMPTY),
    Column("after", Text, nullable=False, server_default=EMPTY),
    Index(None, "occurred_at", "id"),
    Index(None, "target", "occurred_at", "id"),
    Index(None, "actor", "occurred_at", "id"),
)

usage_events = Table(
    "usage_events",
    metadata,
    #: The event's id: the reservation's own, with ":late" for what a late settlement corrected. PostgreSQL has a
    #: partition a month, and a key of id and `occurred_at`: an event that comes again has the same.
    Column("id", String(120), primary_key=True),
    Column("reservation_id", String(100), nullable=False, index=True),
    Column("account", String(200), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("operation", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("route", String(300), nullable=False),
    Column("key_prefix", String(32), nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("written_off", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("price_version", String(32), nullable=False),
    Column("local_day", String(10), nullable=False),
    Column("latency_ms", BigInteger, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("audio_ms", BigInteger, nullable=False, server_default="0"),
    Column("images", BigInteger, nullable=False, server_default="0"),
    #: Units that were held when the call ended, and when it began; both 0 in corrections and in rows of older gateways.
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("first_held", BigInteger, nullable=False, server_default="0"),
    #: Policies in shadow mode that would have denied the call, by name with spaces between.
    Column("shadow", String(1000), nullable=False, server_default=EMPTY),
    #: What the caller says it belongs to: a conversation, a page.
    Column("session", String(200), nullable=False, server_default=EMPTY),
    #: What the caller says it is for, and whatever else it says, as a JSON object.
    Column("purpose", String(200), nullable=False, server_default=EMPTY),
    Column("details", Text, nullable=False, server_default=EMPTY),
    #: Of the total: tokens that were reported from outside without saying of which kind.
    Column("reported_tokens", BigInteger, nullable=False, server_default="0"),
    # What lists filter by stands behind what they are sorted by: one index to write, and no row is read in vain.
    Index(None, "account", "occurred_at", "id", "operation", "model"),
    Index(None, "occurred_at"),
    partial("ix_usage_events_session", "account", "session", "occurred_at", "id", where="session <> ''"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    #: The event's id and the line's number in it.
    Column("id", String(450), primary_key=True),
    Column("account", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("bucket", String(220), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reservation_id", String(100)),
    Column("reason", String(1000)),
    Column("occurred_at", Instant, nullable=False),
    #: Orders what happened in the same millisecond: a day opens before the first call is charged to it.
    Column("position", BigInteger, nullable=False, server_default="0"),
    #: Of the call behind it; "" where there is none.
    Column("operation", String(64), nullable=False, server_default=EMPTY),
    Index(None, "account", "occurred_at", "position", "id", "operation"),
    # Most entries are of calls, and are found by the one above.
    partial("ix_ledger_entries_kind", "account", "kind", "occurred_at", "position", "id", where="kind <> 'USAGE'"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("local_day", String(10), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("operation", String(64), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("written_off", BigInteger, nullable=False),
    Column("audio_ms", BigInteger, nullable=False, server_default="0"),
    Column("images", BigInteger, nullable=False, server_default="0"),
    Column("reported_tokens", BigInteger, nullable=False, server_default="0"),
)

#: What an account's owner is told, once a period: a second row of the same id cannot be.
notices = Table(
    "notices",
    metadata,
    #: "KIND ACCOUNT PERIOD".
    Column("id", String(450), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("account", String(200), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    #: What is told, as a JSON object.
    Column("body", Text, nullable=False),
)

#: A notice on its way, by one channel.
deliveries = Table(
    "deliveries",
    metadata,
    #: The notice's id and the channel.
    Column("id", String(470), primary_key=True),
    Column("notice", String(450), nullable=False),
    #: "webhook" or "email".
    Column("channel", String(16), nullable=False),
    #: "waiting", "sent" or "failed".
    Column("status", String(16), nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("last_error", String(500), nullable=False, server_default=EMPTY),
    Index(None, "status", "next_try_at"),
)

#: Usage reported while Redis was away: the worker applies it, once.
reports_to_apply = Table(
    "reports_to_apply",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("account", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    #: What was reported, as a JSON object.
    Column("body", Text, nullable=False),
)
