"""The database itself refuses to change or delete what is recorded; on PostgreSQL, usage has a partition a month.

`usage_events`, `ledger_entries` and `audit_log` refuse UPDATE and DELETE, and TRUNCATE on PostgreSQL. One change is let
through: that which deletes personal data. It replaces the account by "erased:…" (also where the row's id names it), and
may empty what the caller said of the call, or what an operator's act was about.

On PostgreSQL a key of a partitioned table holds what it is partitioned by, so that of `usage_events` becomes its id and
`occurred_at`. Rows of before are moved. SQLite has no partitions: its table stays as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

#: Whole months, three ahead: `worker.upkeep` goes on from there.
MONTHS_AHEAD = 3

#: By table: the column that names the account, what it must then begin with, what may be emptied, and all others.
GUARDED = {
    "usage_events": (
        "account", "erased:", ("session", "purpose", "details"),
        (
            "reservation_id", "outcome", "operation", "model", "route", "key_prefix", "input_tokens", "cached_tokens",
            "cache_write_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cost", "written_off",
            "estimated", "status", "price_version", "local_day", "latency_ms", "started_at", "occurred_at", "audio_ms",
            "images", "held", "first_held", "shadow", "reported_tokens",
        ),
    ),
    "ledger_entries": (
        "account", "erased:", (),
        ("kind", "bucket", "amount", "reservation_id", "reason", "occurred_at", "position", "operation"),
    ),
    "audit_log": (
        "target", "account:erased:", ("before", "after"), ("occurred_at", "actor", "action", "reason"),
    ),
}  # fmt: skip
WHY = "are never changed or deleted: a correction is a new row"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _partition()
        _guard_postgresql()
    else:
        _guard_sqlite()


def _partition() -> None:
    for index in ("reservation_id", "account_occurred_at_id", "occurred_at", "session"):
        op.execute(f"DROP INDEX ix_usage_events_{index}")
    op.execute("ALTER TABLE usage_events RENAME TO usage_events_before")
    op.execute("ALTER TABLE usage_events_before DROP CONSTRAINT pk_usage_events")
    op.execute(
        "CREATE TABLE usage_events (LIKE usage_events_before INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at)"
    )
    op.execute("CREATE TABLE usage_events_other PARTITION OF usage_events DEFAULT")
    for first, after, name in op.get_bind().execute(sa.text(_MONTHS), {"ahead": MONTHS_AHEAD}).all():
        op.execute(
            f"CREATE TABLE usage_events_{name} PARTITION OF usage_events "
            f"FOR VALUES FROM ('{first} 00:00:00+00') TO ('{after} 00:00:00+00')"
        )
    op.execute("INSERT INTO usage_events SELECT * FROM usage_events_before")
    op.execute("DROP TABLE usage_events_before")
    op.create_primary_key("pk_usage_events", "usage_events", ["id", "occurred_at"])
    op.create_index("ix_usage_events_reservation_id", "usage_events", ["reservation_id"])
    op.create_index("ix_usage_events_account_occurred_at_id", "usage_events", ["account", "occurred_at", "id"])
    op.create_index("ix_usage_events_occurred_at", "usage_events", ["occurred_at"])
    op.create_index(
        "ix_usage_events_session", "usage_events", ["account", "session", "occurred_at", "id"],
        postgresql_where=sa.text("session <> ''"),
    )  # fmt: skip


#: The first days, those of the months after, and the names: of the months that have rows, of the running one and of
#: those ahead.
_MONTHS = """
SELECT to_char(month, 'YYYY-MM-DD'), to_char(month + interval '1 month', 'YYYY-MM-DD'), to_char(month, 'YYYY_MM')
FROM (
  SELECT DISTINCT date_trunc('month', occurred_at AT TIME ZONE 'UTC') AS month FROM usage_events_before
  UNION SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month'
  FROM generate_series(0, :ahead) AS n
) AS months ORDER BY month
"""


def _guard_postgresql() -> None:
    op.execute(_FUNCTION)
    op.execute(_NO_TRUNCATE)
    for table, (named, prefix, emptied, _) in GUARDED.items():
        arguments = ", ".join(f"'{each}'" for each in (table, named, prefix, *emptied))
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION quotagate_append_only({arguments})"
        )
        op.execute(_no_truncate_on(table))
    # A partition has the triggers of rows from its table, and not those of statements.
    partitions = sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_events'::regclass")
    for (partition,) in op.get_bind().execute(partitions).all():
        op.execute(_no_truncate_on(partition))


def _no_truncate_on(table: str) -> str:
    return (
        f"CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION quotagate_no_truncate()"
    )


#: Arguments: the table's name (a partition has its own), the column that names the account, what it must begin with
#: once erased, then the columns that may be emptied.
_FUNCTION = f"""
CREATE FUNCTION quotagate_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  was jsonb; becomes jsonb; name text; erased boolean; old_name text; new_name text;
  -- What stands before the account's own id in the column that names it: nothing, or "account:".
  kind text := left(TG_ARGV[2], -7);
BEGIN
  IF TG_OP = 'UPDATE' THEN
    was := to_jsonb(OLD);
    becomes := to_jsonb(NEW);
    old_name := was ->> TG_ARGV[1];
    new_name := becomes ->> TG_ARGV[1];
    erased := starts_with(old_name, kind) AND starts_with(new_name, TG_ARGV[2]) AND becomes ->> 'id' IN (
      was ->> 'id',
      replace(was ->> 'id', ':' || substr(old_name, length(kind) + 1), ':' || substr(new_name, length(kind) + 1)));
    FOREACH name IN ARRAY TG_ARGV[3:] LOOP
      erased := erased AND becomes ->> name IN ('', was ->> name);
      was := was - name;
      becomes := becomes - name;
    END LOOP;
    IF erased AND was - 'id' - TG_ARGV[1] = becomes - 'id' - TG_ARGV[1] THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'rows of % {WHY}', TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$
"""

_NO_TRUNCATE = f"""
CREATE FUNCTION quotagate_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of % {WHY}', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def _guard_sqlite() -> None:
    for table, (named, prefix, emptied, others) in GUARDED.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, 'rows of {table} {WHY}'); END"
        same = [f"NEW.{name} IS OLD.{name}" for name in others]
        same += [f"NEW.{name} IN ('', OLD.{name})" for name in emptied]
        kind = prefix.removesuffix("erased:")
        same.append(f"substr(OLD.{named}, 1, {len(kind)}) = '{kind}'")
        same.append(f"substr(NEW.{named}, 1, {len(prefix)}) = '{prefix}'")
        old, new = (f"':' || substr({row}.{named}, {len(kind) + 1})" for row in ("OLD", "NEW"))
        same.append(f"NEW.id IN (OLD.id, replace(OLD.id, {old}, {new}))")
        when = f"WHEN NOT ({' AND '.join(same)})"
        _execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {when} {refuse}")
        _execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")


def _execute(statement: str) -> None:
    """SQLAlchemy would take a colon for the beginning of a parameter."""
    op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    """Never: the ledger is not thrown away."""
    raise NotImplementedError("a ledger is not downgraded; restore a backup instead")
