"""Reads the reply of `peek`: an account and all its buckets."""

from __future__ import annotations

import re
from typing import Any

from gateway.domain.errors import ScriptFault
from gateway.domain.reservation import Account, Bucket
from gateway.domain.tier import PERIODS

_GRANT = re.compile(r"amount=(\d+) priority=(\d+) expires_at=(\d+) granted_at=(\d+)")
_NEVER_S = 9_999_999_999


def read_account(account_id: str, reply: list[Any]) -> Account | None:
    match reply:
        case [b"unknown", _, _]:
            return None
        case [b"account", _, now_ms, fields, running, credits, grants, _]:
            periods = {kind.decode(): _table(period) for kind, period in zip(running[::2], running[1::2], strict=True)}
            return _account(account_id, now_ms, _table(fields), periods, _table(credits), _table(grants))
    raise ScriptFault(f"peek answered {reply!r}, which no one understands")


def _account(
    account_id: str,
    now_ms: int,
    fields: dict[str, str],
    periods: dict[str, dict[str, str]],
    credits: dict[str, str],
    grants: dict[str, str],
) -> Account:
    buckets: list[Bucket] = []
    lapsed, rests = 0, {}
    for kind in PERIODS:
        if period := periods.get(kind):
            buckets.append(_period(kind, fields[kind], period))
        else:
            unheard = int(fields.get(f"{kind}_left", 0))
            lapsed += unheard
            rests[kind] = unheard or int(fields.get(f"{kind}_rest", 0))
    for bucket in _in_burn_order(credits, grants):
        if bucket.ends_at_ms is not None and bucket.ends_at_ms <= now_ms:
            lapsed += bucket.left
        else:
            buckets.append(bucket)
    tier_ends_ms = int(fields["tier_ends"]) if "tier_ends" in fields else None
    has_ended = tier_ends_ms is not None and tier_ends_ms <= now_ms
    return Account(
        id=account_id,
        tier=fields["tier_after"] if has_ended else fields["tier"],
        zone=fields["zone"],
        status=fields["status"],
        version=int(fields["version"]),
        granted=int(fields["granted"]),
        spent=int(fields["spent"]),
        held=int(fields["held"]),
        used_tokens=int(fields["used_tokens"]),
        requests=int(fields["requests"]),
        now_ms=now_ms,
        first_seen_ms=int(fields["first_seen"]),
        last_seen_ms=int(fields["last_seen"]),
        anchor=fields.get("anchor", ""),
        buckets=tuple(buckets),
        rests={kind: rest for kind, rest in rests.items() if rest},
        lapsed=lapsed,
        spent_since=(int(fields.get("noted_before_at", 0)), int(fields.get("noted_before_spent", 0))),
        override=fields.get("override", ""),
        tier_ends_ms=tier_ends_ms,
        tier_after=fields.get("tier_after", ""),
    )


def _period(kind: str, id: str, fields: dict[str, str]) -> Bucket:
    return Bucket(kind, id, int(fields["amount"]), int(fields["left"]), int(fields["held"]), int(fields["ends_at"]))


def _in_burn_order(credits: dict[str, str], grants: dict[str, str]) -> list[Bucket]:
    """By priority, then soonest expiry, then age: as `lua/lib/buckets.lua` scores them."""
    found = []
    for grant_id, left in credits.items():
        record = _GRANT.match(grants.get(grant_id, ""))
        numbers = (int(left), 0, 0, 0) if record is None else map(int, record.groups())
        amount, priority, expires_s, granted_at_ms = numbers
        bucket = Bucket("credits", grant_id, amount, int(left), None, expires_s * 1000 or None, priority)
        found.append(((priority, expires_s or _NEVER_S, granted_at_ms, grant_id), bucket))
    return [bucket for _, bucket in sorted(found, key=lambda each: each[0])]


def _table(flat: list[bytes]) -> dict[str, str]:
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))
