"""The tables. `migrations/` makes them; a test holds the two equal.

Rows of `usage_events` and `ledger_entries` are never changed or deleted: a correction is a new row that names the same
reservation. Amounts are signed 64-bit integers of the smallest unit, instants are UTC.
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


class Instant(TypeDecorator[datetime]):
    """An instant in UTC. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name != "sqlite" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


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
    #: Tokens used since the account was opened, all calls.
    Column("used_tokens", BigInteger, nullable=False, server_default="0"),
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
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
    #: For people: where the key is used. Its default is written out, as Alembic cannot compare an empty word.
    Column("name", String(100), nullable=False, server_default=text("''")),
    Column("team", String(200), nullable=False, server_default=text("''")),
    Column("organisation", String(200), nullable=False, server_default=text("''")),
    #: Operations it may be used for, with spaces between them; "": all.
    Column("scopes", String(1000), nullable=False, server_default=text("''")),
    #: Limits of its own, with "; " between them.
    Column("limits", String(1000), nullable=False, server_default=text("''")),
    #: None: never.
    Column("expires_at", Instant),
)

usage_events = Table(
    "usage_events",
    metadata,
    #: The event's id: the reservation's own, with ":late" for what a late settlement corrected.
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
    Column("shadow", String(1000), nullable=False, server_default=text("''")),
    Index(None, "account", "occurred_at", "id"),
    Index(None, "occurred_at"),
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
    Index(None, "account", "occurred_at", "position", "id"),
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
)
