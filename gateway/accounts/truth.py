"""How an account ought to stand in Redis, by what the ledger knows and what open calls hold. Pure.

Of each bucket Redis has what the ledger has, less what open calls took from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.domain.books import RESET_OF, Grant, Opening, Record
from gateway.domain.period import Windows, day_windows, hour_windows, month_windows, week_windows
from gateway.domain.schedule import anchor_of, schedule, zone_of
from gateway.domain.tier import PERIODS, Tier
from gateway.store.repair import OpenHold, Plan

#: The longest period, and some: one that was opened earlier is over.
LONGEST_MS = 33 * 86_400_000

#: How long a lease a hold gets that had none: whoever holds it renews it sooner.
_LEASE_MS = 60_000

_NO_GRANT = Grant(0)


class Running(NamedTuple):
    """The period of a kind that was opened last; it may be over."""

    id: str
    #: What it was opened with.
    amount: int
    ends_ms: int


@dataclass(slots=True)
class Standing:
    """What Redis ought to say of an account."""

    granted: int
    spent: int
    #: Bucket → units that calls can draw on, and units that open calls hold. No bucket is in either with 0.
    left: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    periods: dict[str, Running] = field(default_factory=dict)
    #: Open holds, each with what it holds.
    holds: dict[str, dict[str, int]] = field(default_factory=dict)
    #: What the ledger has to hear: "EXPIRY day:2026-11-18 -3".
    entries: list[str] = field(default_factory=list)

    @property
    def all_held(self) -> int:
        return sum(self.held.values())

    def enter(self, kind: str, bucket: str, amount: int) -> None:
        """An entry by which the account gets or loses units."""
        self.entries.append(f"{kind} {bucket} {amount}")
        self.granted += amount


def standing(record: Record, periods: Mapping[str, Running], holds: Iterable[OpenHold]) -> Standing:
    """How the account ought to stand. `periods`: by kind, the one opened last; `holds`: those that are truly open."""
    found = Standing(record.granted, record.spent, periods=dict(periods))
    rest = dict(record.buckets)
    for hold in holds:
        kept = {}
        for bucket, amount in hold.parts.items():
            # A hold of units that the ledger knows nothing of holds what there is.
            kept[bucket] = max(0, min(amount, rest.get(bucket, 0)))
            rest[bucket] = rest.get(bucket, 0) - kept[bucket]
            found.held[bucket] = found.held.get(bucket, 0) + kept[bucket]
        found.holds[hold.id] = {bucket: amount for bucket, amount in kept.items() if amount}
    found.held = {bucket: amount for bucket, amount in found.held.items() if amount}
    found.left = {bucket: amount for bucket, amount in rest.items() if amount}
    _cover_deficits(found, record)
    for bucket, amount in sorted(found.left.items()):
        if not _can_be_drawn_on(bucket, found, record):
            found.enter("EXPIRY", bucket, -amount)
            del found.left[bucket]
    return found


def plan_of(found: Standing, record: Record, now_ms: int, default_tier: str) -> Plan:
    """What `restore` writes, for an account that is written anew."""
    plan = Plan()
    plan.fields = {
        "tier": record.tier or default_tier, "zone": record.zone or "", "status": record.status,
        # No gateway can believe in a version of before: those are small numbers.
        "version": now_ms // 1000,
        "granted": found.granted, "spent": found.spent, "held": found.all_held, "used_tokens": record.used_tokens,
        "requests": record.requests + len(found.holds), "next_expiry": next_expiry_ms(found, record),
        "first_seen": record.first_seen_ms or now_ms, "last_seen": record.last_seen_ms or now_ms,
    }  # fmt: skip
    for kind, period in found.periods.items():
        bucket = f"{kind}:{period.id}"
        left, held = found.left.get(bucket, 0), found.held.get(bucket, 0)
        plan.fields |= {kind: period.id, f"{kind}_left": left, f"{kind}_ends": period.ends_ms}
        plan.periods.append((kind, period.id, max(period.amount, 0), left, held, period.ends_ms))
    for grant_id, left in credits_of(found.left):
        grant = record.grants.get(grant_id, _NO_GRANT)
        plan.credits.append((grant_id, left, grant.priority, grant.expires_s, grant.granted_at_ms))
    plan.grants = {grant_id: grant.record for grant_id, grant in record.grants.items()}
    return plan


def kept(hold: OpenHold, parts: dict[str, int], now_ms: int) -> tuple[str, int, str, int]:
    """A hold as `restore` writes it."""
    text = " ".join(f"{bucket}={amount}" for bucket, amount in parts.items())
    return hold.id, sum(parts.values()), text, 0 if hold.lease_until_ms is not None else now_ms + _LEASE_MS


def next_expiry_ms(found: Standing, record: Record) -> int:
    """Before it no grant lapses; 0: none will."""
    ends = (record.grants.get(grant_id, _NO_GRANT).expires_s for grant_id, _ in credits_of(found.left))
    return min((end for end in ends if end), default=0) * 1000


def credits_of(buckets: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Grants among buckets."""
    for bucket, amount in buckets.items():
        kind, _, grant_id = bucket.partition(":")
        if kind == "credits":
            yield grant_id, amount


def _can_be_drawn_on(bucket: str, found: Standing, record: Record) -> bool:
    """Whether it is a grant that was not voided, or the period that was opened last. Others have no place in Redis:
    their time is over. One whose time is over but was opened last lapses there, as always."""
    kind, _, id = bucket.partition(":")
    if kind == "credits":
        return record.grants.get(id, _NO_GRANT).voided is None
    return kind in found.periods and found.periods[kind].id == id


def _cover_deficits(found: Standing, record: Record) -> None:
    """More was spent than there was, of a balance that somebody had raised by hand: other buckets make up for it, and
    what they do not cover is given. Nothing is negative afterwards."""
    for bucket, amount in sorted(found.left.items()):
        missing = -amount
        for other in sorted(found.left, key=lambda name: _burn_place(name, record)):
            taken = min(missing, found.left[other])
            if taken > 0:
                found.left[other] -= taken
                missing -= taken
                found.enter("ADJUSTMENT", other, -taken)
        if amount < 0:
            found.enter("ADJUSTMENT", bucket, -amount)
            found.left[bucket] = 0
    found.left = {bucket: amount for bucket, amount in found.left.items() if amount}


def _burn_place(bucket: str, record: Record) -> tuple[int, int, int, int]:
    kind, _, id = bucket.partition(":")
    if kind in PERIODS:
        return PERIODS.index(kind), 0, 0, 0
    grant = record.grants.get(id, _NO_GRANT)
    return len(PERIODS), grant.priority, grant.expires_s or 10**10, grant.granted_at_ms


# ── periods ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def last_periods(
    record: Record, tier: Tier, others: Sequence[Tier], now_ms: int, ends: dict[tuple[str, ...], int] | None = None
) -> dict[str, Running]:
    """By kind, the period that was opened last, by the ledger. Its end is that of the tier's schedule, or of one that
    the account was on before. `ends`: those that were found for other accounts of these tiers, to be told once."""
    opened: dict[str, Opening] = {
        bucket: Opening(amount, 0) for bucket, amount in record.buckets.items() if amount and _kind(bucket) in PERIODS
    } | (record.openings or {})
    newest: dict[str, tuple[Opening, str]] = {}
    for bucket, opening in opened.items():
        kind, _, id = bucket.partition(":")
        if kind not in newest or (opening.opened_at_ms, id) > (newest[kind][0].opened_at_ms, newest[kind][1]):
            newest[kind] = opening, id
    ends = {} if ends is None else ends
    anchor = anchor_of(tier, record.first_seen_ms, record.zone or "") if tier.is_anchored else ""
    found = {}
    for kind, (opening, id) in newest.items():
        zones = _zones(opening.opened_at_ms, record)
        name = (kind, id, tier.name, *zones, anchor)
        if name not in ends:
            ends[name] = _end_ms(kind, id, opening.opened_at_ms, record, zones, (tier, *others), now_ms)
        found[kind] = Running(id, opening.amount, ends[name])
    return found


def _zones(opened_at_ms: int, record: Record) -> tuple[str, str]:
    """The zones that a period may have been opened in, the likeliest first; "": that of the tier. One from before the
    account was moved is of where it was then, which nobody has written down: most are in their tier's."""
    zone = record.zone or ""
    return ("", zone) if 0 < opened_at_ms < record.tier_set_at_ms else (zone, "")


def _end_ms(
    kind: str, id: str, opened_at_ms: int, record: Record, zones: Sequence[str], tiers: Sequence[Tier], now_ms: int
) -> int:
    """When a period ends; now, when no tier says so: what it still has lapses then."""
    for at_ms in (opened_at_ms or now_ms, now_ms):
        for tier in tiers:
            for zone in zones:
                for windows in _windows(kind, id, at_ms, tier, zone, record):
                    if windows.id == id:
                        return windows.ends_ms
    return now_ms


def _windows(kind: str, id: str, at_ms: int, tier: Tier, zone_name: str, record: Record) -> Iterator[Windows]:
    zone = zone_of(tier, zone_name)
    anchor = anchor_of(tier, record.first_seen_ms, zone_name)
    for allowance, windows in zip(tier.allowances, schedule(tier, at_ms, zone_name, anchor).allowances, strict=True):
        if allowance.every == kind:
            yield windows
    # Of a plan that the account was on before, or that has changed.
    match kind:
        case "hour":
            yield hour_windows(at_ms, zone, tier.reset_hour)
        case "day":
            yield day_windows(at_ms, zone, tier.reset_hour)
        case "week":
            for weekday in range(7):
                yield week_windows(at_ms, zone, tier.reset_hour, weekday)
        case "month":
            yield month_windows(at_ms, zone, tier.reset_hour, int(id[8:] or 1))


def _kind(bucket: str) -> str:
    return bucket.partition(":")[0]


def reset_entry(kind: str, id: str, amount: int) -> str:
    """The entry of a period that was opened."""
    return f"{RESET_OF[kind]} {kind}:{id} {amount}"
