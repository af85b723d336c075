"""Fills a PostgreSQL ledger with rows as traffic leaves them, made by the server itself.

100,000 accounts: one of them, `heavy`, made 100,000 calls, the others the rest, a few of them much more than most. All
calls of the last six months, in the order of their time, as a worker appends them.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, text

ACCOUNTS = 100_000
HEAVY_CALLS = 100_000
HEAVY = "heavy"
#: Rows a statement.
CHUNK = 500_000

#: Calls as number n of :rows, from n = :first on. Every :every-th is the heavy account's; of the others, those of low
#: numbers have the most. `pick` spreads what follows from it over the calls of each account.
_CALLS = """
WITH drawn AS (
  SELECT n, random() AS who, random() AS pick, random() AS size,
         :start + (:end - :start) * (n::float8 / :rows) AS ended
  FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
), calls AS (
  SELECT *, CASE WHEN n % :every = 0 THEN 'heavy'
            ELSE 'user-' || lpad((1 + floor(power(who, 2) * (:accounts - 1)))::bigint::text, 6, '0') END AS account
  FROM drawn
)
INSERT INTO usage_events (id, reservation_id, account, outcome, operation, model, route, key_prefix, input_tokens,
  cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, cost, written_off, estimated,
  status, price_version, local_day, latency_ms, started_at, occurred_at, session)
SELECT md5(n::text), md5(n::text), account, 'settled',
  CASE WHEN pick < 0.001 THEN 'create_website' WHEN pick < 0.1 THEN 'embed' ELSE 'chat' END,
  CASE WHEN pick < 0.002 THEN 'o3' WHEN pick < 0.1 THEN 'text-embedding-3' WHEN pick < 0.4 THEN 'claude-sonnet'
       ELSE 'gpt-4o' END,
  '/v1/chat/completions', 'qg_' || left(md5(account), 8), floor(size * 2000), 0, 0, floor(size * 500), 0,
  floor(size * 2000) + floor(size * 500), 1 + floor(size * 100), 0, false, 200, '0123456789ab',
  to_char(ended, 'YYYY-MM-DD'), 1500, ended - interval '1.5 s', ended,
  CASE WHEN pick < 0.5 THEN 's-' || to_char(ended, 'YYYYMMDDHH24') ELSE '' END
FROM calls
"""

#: An entry a call, and of every tenth call's account the opening of a day and now and then a top-up.
_ENTRIES = """
INSERT INTO ledger_entries (id, account, kind, bucket, amount, reservation_id, occurred_at, position, operation)
SELECT id || '/1', account, 'USAGE', 'day:' || local_day, -cost, reservation_id, occurred_at, 0, operation
FROM usage_events WHERE occurred_at > :after AND occurred_at <= :until
UNION ALL
SELECT id || '/d', account, 'DAILY_RESET', 'day:' || local_day, 500, NULL, started_at, 0, ''
FROM usage_events WHERE occurred_at > :after AND occurred_at <= :until AND id < '1a'
UNION ALL
SELECT 'grant:' || account || ':' || id || '/1', account, 'TOP_UP', 'credits:' || id, 1000, NULL, started_at, 0, ''
FROM usage_events WHERE occurred_at > :after AND occurred_at <= :until AND id < '004'
ORDER BY 7
"""

_SUMS = (
    """
INSERT INTO usage_daily (account, local_day, model, operation, requests, input_tokens, cached_tokens,
  cache_write_tokens, output_tokens, reasoning_tokens, cost, written_off)
SELECT account, local_day, model, operation, count(*), sum(input_tokens), 0, 0, sum(output_tokens), 0, sum(cost), 0
FROM usage_events GROUP BY 1, 2, 3, 4
""",
    """
INSERT INTO accounts (id, tier, zone, status, used_tokens, requests, first_seen_at, last_seen_at, spent, email)
SELECT account, (ARRAY['free', 'free', 'free', 'free', 'payg', 'pro'])[1 + abs(hashtext(account)) % 6],
  CASE WHEN hashtext(account || 'z') % 10 = 0 THEN 'Europe/Berlin' ELSE '' END,
  CASE WHEN hashtext(account || 's') % 200 = 0 THEN 'suspended' ELSE 'active' END,
  sum(total_tokens), count(*), min(occurred_at), max(occurred_at), sum(cost),
  left(md5(account), 6) || '.' || account || '@example.com'
FROM usage_events GROUP BY account
""",
    """
INSERT INTO account_buckets SELECT id, 'credits:signup', 1000 FROM accounts
""",
    """
INSERT INTO audit_log (id, occurred_at, actor, action, target, reason)
SELECT 'act-' || n, now() - n * interval '1 minute', 'admin:' || n % 20, 'account.set_tier',
  'account:user-' || lpad((1 + n * 7919 % 99999)::text, 6, '0'), 'asked for it'
FROM generate_series(1, 100000) AS n
""",
)


def fill(engine: Engine, rows: int, tell: Callable[[str], None]) -> None:
    """Fills a migrated, empty ledger: secondary indexes rest meanwhile, as it takes minutes less."""
    with engine.begin() as connection:
        indexes = _take_indexes(connection)
        start, end = connection.execute(text("SELECT now() - interval '180 days', now()")).one()
    common = {"rows": rows, "start": start, "end": end, "accounts": ACCOUNTS, "every": max(2, rows // HEAVY_CALLS)}
    for first in range(1, rows + 1, CHUNK):
        last = min(rows, first + CHUNK - 1)
        with engine.begin() as connection:
            connection.execute(text(_CALLS), {**common, "first": first, "last": last})
        tell(f"{last:,} calls")
    steps = -(-rows // CHUNK)
    for step in range(steps):
        after, until = (start + (end - start) * (number / steps) for number in (step, step + 1))
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL work_mem = '256MB'"))
            connection.execute(text(_ENTRIES), {"after": after, "until": until})
    tell("their entries")
    for statement in _SUMS:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL work_mem = '512MB'"))
            connection.execute(text(statement))
    tell("their sums")
    for definition in indexes:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
            connection.exec_driver_sql(definition)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    tell("their indexes")


def _take_indexes(connection: Connection) -> list[str]:
    """Drops what is no key's, and returns what makes it again."""
    found = connection.execute(
        text(
            "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_class t ON t.oid = i.indrelid WHERE NOT i.indisprimary AND NOT c.relispartition "
            "AND c.relnamespace = 'public'::regnamespace AND NOT i.indisunique"
        )
    ).all()
    for name, _ in found:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    # That of a partitioned table says ONLY: without it, those of its partitions are made as well.
    return [definition.replace(" ON ONLY ", " ON ") for _, definition in found]
