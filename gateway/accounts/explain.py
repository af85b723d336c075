"""The whole story of one call, from what stands: its hold or how that ended, its events, entries, price, and what
operators did to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from gateway.accounts import audit
from gateway.accounts.audit import Noted
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.event import MalformedEvent, read_event
from gateway.domain.price_lines import PricedCall, priced
from gateway.domain.usage import Usage
from gateway.ledger.credits import named_grants
from gateway.ledger.tables import ledger_entries, usage_events
from gateway.store import calls, reservations
from gateway.store.reservations import EndedHold, OpenHold, Waiting

_MAX_ID_LENGTH = 100


class NoSuchReservation(RefusedInput):
    """Raised when nothing is known of a reservation."""


@dataclass(frozen=True, slots=True)
class PriceStory:
    """What the call costs by the prices in force."""

    call: PricedCall
    #: What it did cost.
    cost: int

    @property
    def agrees(self) -> bool:
        """False when something else priced it: a tier that the account has left, a hold charged in full."""
        return self.call.units == self.cost


@dataclass(frozen=True, slots=True)
class PaidBy:
    """A grant that paid some of it, or is held for it."""

    id: str
    #: None: the ledger has not heard of it yet.
    kind: str | None
    #: What it was made for, such as "order:ord_…"; None: an operator made it, or the sign-up.
    cause: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One call. Amounts are units, instants in UTC."""

    id: str
    account: str
    #: As it is today; "" when Redis does not know the account.
    tier: str
    #: "open", "settled", "released" or "expired".
    state: str
    hold: OpenHold | None
    #: None once it is forgotten, or while it is open.
    ended: EndedHold | None
    #: Rows of `usage_events`: the call, and what a late settlement corrected.
    events: tuple[Mapping[str, Any], ...]
    #: Rows of `ledger_entries`.
    entries: tuple[Mapping[str, Any], ...]
    #: The grants among the buckets of its hold and its entries.
    grants: tuple[PaidBy, ...]
    #: Its events that are not in the ledger yet.
    waiting: tuple[Waiting, ...]
    #: None while it is open, when nothing was charged, and when its price version is no longer in force.
    price: PriceStory | None
    price_version: str
    #: Whether the config in force has that version.
    price_in_force: bool
    audit: tuple[Noted, ...]

    def as_json(self) -> dict[str, Any]:
        """As a program reads it: texts, integers, instants, lists and objects of these."""
        return {
            "reservation": self.id,
            "account": self.account,
            "tier": self.tier,
            "state": self.state,
            "hold": _hold_json(self.hold),
            "ended": None if self.ended is None else asdict(self.ended),
            "events": [dict(event) for event in self.events],
            "entries": [dict(entry) for entry in self.entries],
            "grants": [asdict(grant) for grant in self.grants],
            "waiting": [asdict(each) for each in self.waiting],
            "price_version": self.price_version,
            "price_in_force": self.price_in_force,
            "price": _price_json(self.price),
            "audit": [asdict(noted) for noted in self.audit],
        }


def explain(system: System, id: str) -> Explanation:
    """Raises NoSuchReservation when nothing is known of it, or no reservation can have this id."""
    if not 1 <= len(id) <= _MAX_ID_LENGTH or not id.isprintable():
        raise NoSuchReservation(f"there is no reservation {id!r}: an id is 1-{_MAX_ID_LENGTH} printable characters")
    hold, ended = reservations.find(system.redis, system.keys, id)
    events, entries, notes = _recorded(system, id)
    account = hold.account if hold else ended.account if ended else events[0]["account"] if events else ""
    if not account:
        raise NoSuchReservation(_nothing_of(system, id, ended))
    waiting = tuple(reservations.waiting(system.redis, system.keys.partition(account), id))
    known = system.runner.run(calls.peek(system.keys.account(account)))
    tier = known.tier if known else ""
    facts = [*events, *_facts_of(waiting)]
    version = hold.price_version if hold else facts[0]["price_version"] if facts else ""
    return Explanation(
        id=id,
        account=account,
        tier=tier,
        state=_state(hold, ended, facts),
        hold=hold,
        ended=ended,
        events=tuple(events),
        entries=tuple(entries),
        grants=_grants(system, account, [*(dict(hold.parts) if hold else ()), *(entry["bucket"] for entry in entries)]),
        waiting=waiting,
        price=_price(system, tier, facts, version),
        price_version=version,
        price_in_force=version == system.config.prices.version,
        audit=tuple(notes),
    )


def _recorded(system: System, id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Noted]]:
    with system.ledger.connect() as connection:
        of_it = usage_events.c.reservation_id == id
        # A correction's id is longer than the call's own, so it comes second whatever the clocks said.
        query = select(usage_events).where(of_it).order_by(usage_events.c.id)
        events = [dict(row) for row in connection.execute(query).mappings()]
        # By what the index of entries has: an entry happened when its event did.
        is_one = (
            ledger_entries.c.account.in_({event["account"] for event in events})
            & ledger_entries.c.occurred_at.in_({event["occurred_at"] for event in events})
            & (ledger_entries.c.reservation_id == id)
        )
        order = (ledger_entries.c.occurred_at, ledger_entries.c.position, ledger_entries.c.id)
        entries = connection.execute(select(ledger_entries).where(is_one).order_by(*order)).mappings() if events else ()
        return events, [dict(entry) for entry in entries], audit.about(connection, f"reservation:{id}")


def _grants(system: System, account: str, buckets: Sequence[str]) -> tuple[PaidBy, ...]:
    ids = dict.fromkeys(bucket.removeprefix("credits:") for bucket in buckets if bucket.startswith("credits:"))
    if not ids:
        return ()
    with system.ledger.connect() as connection:
        named = named_grants(connection, account, ids)
    return tuple(PaidBy(id, *named.get(id, (None, None))) for id in ids)


def _facts_of(waiting: Sequence[Waiting]) -> list[dict[str, Any]]:
    """Events that wait, as far as they can be read, by the names of the ledger's columns."""
    facts = []
    for each in waiting:
        try:
            usage = read_event(each.fields, each.stream_id).usage
        except MalformedEvent:
            continue
        if usage is not None:
            facts.append(asdict(usage))
    return facts


def _state(hold: OpenHold | None, ended: EndedHold | None, facts: Sequence[Mapping[str, Any]]) -> str:
    if hold is not None:
        return "open"
    if ended is not None:
        return ended.how
    outcomes = {fact["outcome"] for fact in facts}
    if "corrected" in outcomes or "reported" in outcomes:  # Its gateway came back: the call had ended after all.
        return "settled"
    return "expired" if outcomes == {"lost"} else "released" if outcomes == {"released"} else "settled"


def _price(system: System, tier: str, facts: Sequence[Mapping[str, Any]], version: str) -> PriceStory | None:
    """Corrections are differences, so the sums over a call's events are what it used and what it cost."""
    config = system.config
    if not facts or version != config.prices.version or facts[0]["operation"] not in config.operations:
        return None
    used = {name: sum(fact[name] for fact in facts) for name in (*_COUNTS.values(), "cost")}
    if used["cost"] == 0:
        return None
    first = facts[0]
    route = config.routes.governs(first["route"])
    account_tier = system.tier(tier)
    multiplier = {} if route is None else {"multiplier": route.multiplier}
    charge = config.charge(account_tier, first["operation"], first["model"], **multiplier)
    if charge is None:
        return None
    usage = Usage(**{field: used[column] for field, column in _COUNTS.items()})
    return PriceStory(priced(charge, usage), used["cost"])


#: Fields of `Usage`, and what the ledger calls them.
_COUNTS = {
    "input": "input_tokens",
    "cached": "cached_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "audio_ms": "audio_ms",
    "images": "images",
}


def _nothing_of(system: System, id: str, ended: EndedHold | None) -> str:
    if ended is not None:
        return f"reservation {id} was called off before anything was held: there is nothing to tell of it"
    hours = system.config.remember_ms / 3_600_000
    return (
        f"there is no reservation {id}: none is open, none ended in the last {hours:g} h (store.remember_s, as long as "
        "endings are kept), and the ledger has no call of this id. Calls that were denied leave no reservation"
    )


def _hold_json(hold: OpenHold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    instants = {"opened_at": hold.opened_at_ms, "lease_until": hold.lease_until_ms}
    plain = {name: value for name, value in asdict(hold).items() if not name.endswith("_ms")}
    parts = {"parts": dict(hold.parts)}
    return plain | parts | {name: datetime.fromtimestamp(at_ms / 1000, UTC) for name, at_ms in instants.items()}


def _price_json(price: PriceStory | None) -> dict[str, Any] | None:
    if price is None:
        return None
    lines = [asdict(line) | {"millionths": line.millionths} for line in price.call.lines]
    numerator, denominator = price.call.multiplier
    return {
        "lines": lines,
        "millionths": sum(line.millionths for line in price.call.lines),
        "multiplier": f"{numerator}/{denominator}" if denominator != 1 else str(numerator),
        "units": price.call.units,
        "cost": price.cost,
        "agrees": price.agrees,
    }
