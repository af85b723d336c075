"""Opens the periods that are due without waiting for calls: of one account as its owner sees it, and of all of them.

No call needs it: each opens what is due itself. It is for those who want every new day in the ledger at once. A run
over all accounts goes through them in the order of their ids, as SQL knows them, and stands in the Redis hash
`qg:daily-reset`, so that one that had to stop goes on where it was. Whatever is repeated changes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select

from gateway.accounts.overview import overview
from gateway.accounts.system import System
from gateway.domain.acts import Reset
from gateway.domain.principal import Principal
from gateway.domain.reservation import ClockOff, Stale, Unknown
from gateway.domain.schedule import Schedule, anchor_of, schedule
from gateway.domain.tier import Tier
from gateway.ledger.tables import accounts, ledger_entries
from gateway.store import acts
from gateway.store.acts import ResetOutcome
from gateway.store.calls import Call

PROGRESS = "qg:daily-reset"
#: Whoever works on the run holds this; it is free again when its holder fell silent.
_LOCK = "qg:daily-reset-lock"
_LOCK_MS = 15_000
#: A run that nobody went on with for so long is begun again: accounts that it looked at may be due once more.
STALE_S = 3600
#: Accounts a round trip, each a script of its own.
BATCH = 500
#: One answer takes no longer than this, and a little.
MAX_S = 8.0
_MAX_REPEATS = 3
_RESETS = ("HOURLY_RESET", "DAILY_RESET", "WEEKLY_RESET", "MONTHLY_RESET")


@dataclass(frozen=True, slots=True)
class NextReset:
    """When an account's periods turn."""

    #: Whether a period is due: the next call opens it.
    is_due: bool
    #: When one was last opened, as far as the ledger has heard; None: never.
    last: datetime | None
    #: When the first of those that are open or due ends.
    next_ms: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run over all accounts is."""

    #: Accounts that were looked at.
    accounts: int = 0
    #: Those of them that had a period to open.
    due: int = 0
    #: Periods that were opened.
    opened: int = 0
    is_done: bool = False


def next_reset(system: System, principal: Principal) -> NextReset:
    found = overview(system, principal)
    newest = (
        select(ledger_entries.c.occurred_at)
        .where(ledger_entries.c.account == principal.account, ledger_entries.c.kind.in_(_RESETS))
        .order_by(ledger_entries.c.occurred_at.desc())
        .limit(1)
    )
    with system.ledger.connect() as connection:
        last = connection.execute(newest).scalar_one_or_none()
    return NextReset(bool(found.balance.due), last, found.balance.resets_at_ms)


def open_all_due(system: System, *, max_s: float = MAX_S) -> Progress:
    """Opens the periods of all accounts that are due, for `max_s` at the most. One that is not done is gone on with by
    the next; two at once are one. Raises StoreUnavailable, redis.RedisError and what SQLAlchemy raises.
    """
    token = secrets.token_hex(8)
    if not system.redis.set(_LOCK, token, nx=True, px=_LOCK_MS):
        # Whoever works has perhaps not written anything yet: what stands may be of the run before.
        fields = _fields(system)
        return Progress() if _is_over(fields) else _read(fields)
    try:
        return _go_on(system, max_s)
    finally:
        if system.redis.get(_LOCK) == token.encode():
            system.redis.delete(_LOCK)


def _go_on(system: System, max_s: float) -> Progress:
    fields, end = _fields(system), time.monotonic() + max_s
    if _is_over(fields):
        fields = {}
    progress, cursor = _read(fields), fields.get("cursor", "")
    while True:
        ids = _next_accounts(system, cursor)
        opened = _open(system, ids)
        progress = Progress(
            progress.accounts + len(ids),
            progress.due + sum(1 for kinds in opened if kinds),
            progress.opened + sum(map(len, opened)),
            is_done=len(ids) < BATCH,
        )
        cursor = ids[-1] if ids else cursor
        _write(system, progress, cursor)
        if progress.is_done or time.monotonic() > end:
            return progress


def _next_accounts(system: System, cursor: str) -> list[str]:
    """Accounts on a tier with an allowance, in the order of their ids. What tier they are on is decided in Redis: these
    are all that may have one, as far as the ledger has heard."""
    names = [name for name, tier in system.config.tiers.items() if tier.allowances]
    may_have = [accounts.c.tier.in_(names)]
    if system.tier("").allowances:  # Of a tier that the config has no more, and of none.
        may_have += [accounts.c.tier.not_in(list(system.config.tiers)), accounts.c.tier.is_(None)]
    found = (
        select(accounts.c.id)
        .where(accounts.c.id > cursor, accounts.c.erased_at.is_(None), or_(*may_have))
        .order_by(accounts.c.id)
        .limit(BATCH)
    )
    with system.ledger.connect() as connection:
        return list(connection.execute(found).scalars())


def _open(system: System, ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Opens what is due. Returns the kinds that were opened, by account."""
    opened: dict[str, tuple[str, ...]] = {}
    calendar = _Calendar(time.time_ns() // 1_000_000)
    known: dict[str, Stale] = {}
    left = list(ids)
    for _ in range(_MAX_REPEATS):
        # Nobody knows their versions at first: each is told by a reply.
        outcomes = system.runner.run_many([_reset(system, id, known.get(id), calendar) for id in left])
        again = []
        for id, outcome in zip(left, outcomes, strict=True):
            if isinstance(outcome, Stale):
                known[id] = outcome
                again.append(id)
            elif isinstance(outcome, ClockOff):
                calendar = _Calendar(outcome.now_ms)
                again.append(id)
            elif isinstance(outcome, Reset):
                opened[id] = outcome.opened
            else:
                assert isinstance(outcome, Unknown)  # Redis lost it: its next call opens it.
        left = again
        if not left:
            break
    return [opened.get(id, ()) for id in ids]


def _reset(system: System, account_id: str, known: Stale | None, calendar: _Calendar) -> Call[ResetOutcome]:
    tier = system.tier(known.tier if known else "")
    zone, anchor = (known.zone, known.anchor) if known else ("", "")
    if known and tier.is_anchored and not anchor:
        anchor = anchor_of(tier, known.first_seen_ms, zone)
    # Every account's own: the reply echoes it.
    id = f"reset {account_id}"
    running = calendar.of(tier, zone, anchor if tier.is_anchored else "")
    return acts.reset(system.keys.account(account_id), id, tier, running, version=known.version if known else 0)


class _Calendar:
    """The periods that run at one instant. Most accounts are in the same ones."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._known: dict[tuple[str, str, str], Schedule] = {}

    def of(self, tier: Tier, zone: str, anchor: str) -> Schedule:
        name = (tier.name, zone, anchor)
        if name not in self._known:
            self._known[name] = schedule(tier, self._now_ms, zone, anchor)
        return self._known[name]


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fields(system: System) -> dict[str, str]:
    found: Any = system.redis.hgetall(PROGRESS)
    return {name.decode(): value.decode() for name, value in found.items()}


def _is_over(fields: dict[str, str]) -> bool:
    """Whether the next run is another one."""
    return float(fields.get("touched_at", "0")) < time.time() - STALE_S or fields.get("done") == "1"


def _read(fields: dict[str, str]) -> Progress:
    accounts_seen, due, opened = (int(fields.get(name, "0")) for name in ("accounts", "due", "opened"))
    return Progress(accounts_seen, due, opened, fields.get("done") == "1")


def _write(system: System, progress: Progress, cursor: str) -> None:
    fields: dict[Any, Any] = {
        "accounts": progress.accounts, "due": progress.due, "opened": progress.opened, "cursor": cursor,
        "done": int(progress.is_done), "touched_at": int(time.time()),
    }  # fmt: skip
    system.redis.hset(PROGRESS, mapping=fields)
    system.redis.pexpire(_LOCK, _LOCK_MS)
