"""Events as the scripts write them, for tests of the ledger and the worker."""

from __future__ import annotations

from typing import Any

from gateway.domain.event import Entry, Event, UsageFacts

#: 2026-11-20 10:00 UTC.
NOON_MS = 1_795_168_800_000


def usage(
    id: str = "r1",
    account: str = "alice",
    *,
    at_ms: int = NOON_MS,
    entries: tuple[Entry, ...] | None = None,
    **facts: Any,
) -> Event:
    """A call that settled: 10 tokens in, 5 out, for 3 units of the day."""
    values: dict[str, Any] = {
        "reservation_id": id, "outcome": "settled", "operation": "chat", "model": "gpt-4o", "route": "/v1/x",
        "key": "qg_AbCdEfGh", "price_version": "0123456789ab", "local_day": "2026-11-20", "input_tokens": 10,
        "cached_tokens": 4, "cache_write_tokens": 2, "output_tokens": 5, "reasoning_tokens": 1, "cost": 3,
        "written_off": 0, "estimated": False, "status": 200, "started_at_ms": at_ms - 1500,
        "audio_ms": 12_300, "images": 2, "held": 9, "first_held": 4,
    }  # fmt: skip
    known = UsageFacts(**values | facts)
    if entries is None:
        entries = (Entry("USAGE", "day:2026-11-20", -known.cost),) if known.cost else ()
    return Event(id, "usage", account, at_ms, entries, known)


def corrected(id: str, account: str = "alice", *, at_ms: int = NOON_MS, **differences: int) -> Event:
    """What a late settlement changed: the differences alone."""
    facts: dict[str, Any] = dict.fromkeys(
        (
            "input_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost",
            "audio_ms",
            "images",
            "held",
            "first_held",
        ),
        0,
    )
    facts |= differences
    return usage(f"{id}:late", account, at_ms=at_ms, reservation_id=id, outcome="corrected", **facts)


def opening(account: str = "alice", *, tier: str = "free", zone: str = "", at_ms: int = NOON_MS) -> Event:
    entries = (Entry("SIGNUP", "credits:signup", 15), Entry("DAILY_RESET", "day:2026-11-20", 5))
    return Event(f"opening:{account}", "opening", account, at_ms, entries, tier=tier, zone=zone)


def moved(account: str = "alice", *, tier: str, zone: str = "", version: int = 2, at_ms: int = NOON_MS) -> Event:
    return Event(f"moved:{account}:{version}", "moved", account, at_ms, (), tier=tier, zone=zone)


def grant(
    id: str = "g1", account: str = "alice", amount: int = 100, *, at_ms: int = NOON_MS, reason: str = ""
) -> Event:
    entries = (Entry("TOP_UP", f"credits:{id}", amount),)
    return Event(f"grant:{account}:{id}", "grant", account, at_ms, entries, reason=reason or "paid by card")


def fields_of(event: Event) -> dict[str, str]:
    """The stream entry of an event, as the scripts append it."""
    fields = {
        "kind": event.kind, "id": event.id, "account": event.account, "at": str(event.at_ms),
        "entries": "; ".join(f"{entry.kind} {entry.bucket} {entry.amount}" for entry in event.entries),
    }  # fmt: skip
    told = {"reason": event.reason, "tier": event.tier, "zone": event.zone}
    fields |= {name: value for name, value in told.items() if value is not None}
    if (facts := event.usage) is not None:
        fields |= {
            "reservation": facts.reservation_id, "outcome": facts.outcome, "operation": facts.operation,
            "model": facts.model, "route": facts.route, "key": facts.key, "price_version": facts.price_version,
            "day": facts.local_day, "input": str(facts.input_tokens), "cached": str(facts.cached_tokens),
            "cache_write": str(facts.cache_write_tokens), "output": str(facts.output_tokens),
            "reasoning": str(facts.reasoning_tokens), "cost": str(facts.cost),
            "written_off": str(facts.written_off), "estimated": str(int(facts.estimated)),
            "status": str(facts.status), "started_at": str(facts.started_at_ms),
            "audio_ms": str(facts.audio_ms), "images": str(facts.images), "held": str(facts.held),
            "first_held": str(facts.first_held),
        }  # fmt: skip
    return fields
