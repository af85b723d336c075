"""What Redis knows and the ledger never heard: grants, openings of periods, and calls that were charged. Each becomes
an event, so that the ledger has a row of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.accounts.drift import Drift, in_redis, terms_of
from gateway.accounts.payouts import Lost
from gateway.accounts.truth import reset_entry
from gateway.domain.books import RESET_OF, Ending, Record, read_grant
from gateway.domain.event import OVERDRAFT, Entry
from gateway.domain.tier import PERIODS
from gateway.store.repair import Snapshot

#: Kind, id, when it happened (0: now), entries, facts: as `restore` takes them.
NewEvent = tuple[str, str, int, str, dict[str, str | int]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REASON = "reconcile: Redis knew it, the ledger did not"
_OUTCOMES = {"settled": "settled", "released": "released", "expired": "lost"}


@dataclass(frozen=True, slots=True)
class Done:
    """How a reservation ended, as Redis remembers it."""

    id: str
    #: "settled", "released" or "expired".
    how: str
    #: "ACCOUNT AMOUNT OPERATION MODEL"; of a use "use ACCOUNT KIND SUM LINES OPERATION". "": it was never held.
    request: str
    charged: int
    written_off: int
    ended_at_ms: int

    @property
    def rows(self) -> list[str]:
        """The ids under which the ledger has it: a use of many lines is a row a line."""
        words = self.request.split(" ")
        if words[0] != "use" or words[4:5] in ([], ["1"]):
            return [self.id]
        return [f"{self.id}/{number}" for number in range(1, int(words[4]) + 1)]

    @property
    def operation(self) -> str:
        words = self.request.split(" ")
        return words[5] if words[0] == "use" and len(words) > 5 else (words[2:3] or [""])[0]

    @property
    def model(self) -> str:
        words = self.request.split(" ", 3)
        return "" if words[0] == "use" else _CONTROL.sub("?", (words[3:4] or [""])[0])


def recover_grants(record: Record, snapshot: Snapshot) -> tuple[list[Drift], list[NewEvent]]:
    """Grants whose record stands in Redis alone. They are the ledger's from now on."""
    drifts, events = [], []
    for grant_id, text in sorted(snapshot.grants.items()):
        grant = read_grant(text, grant_id)
        if grant is None or grant_id in record.grants:
            continue
        entries = [Entry(grant.kind, f"credits:{grant_id}", grant.amount)]
        if grant.voided:
            entries.append(Entry("ADJUSTMENT", f"credits:{grant_id}", -grant.voided))
        for entry in entries:
            record.add_entry(entry)
        record.grants[grant_id] = grant
        what = f"grant {grant_id} of {grant.amount} is in Redis, and the ledger does not know it"
        drifts.append(Drift(record.id, "unknown_grant", what, grant_id, grant.amount, None))
        facts: dict[str, str | int] = {
            "reason": _REASON, "priority": grant.priority, "expires_s": grant.expires_s,
        }  # fmt: skip
        # The id of the event that was lost, where it can be known: should it turn up, it changes nothing.
        id = (
            f"recovered:{record.id} signup@{snapshot.now_ms}"
            if grant_id == "signup"
            else f"grant:{record.id} {grant_id}"
        )
        events.append(("grant", id, grant.granted_at_ms, _text(entries), facts))
    return drifts, events


def recover_openings(record: Record, snapshot: Snapshot) -> tuple[list[Drift], list[NewEvent]]:
    """Periods that are running and that the ledger never heard of."""
    drifts: list[Drift] = []
    events: list[NewEvent] = []
    for kind in PERIODS:
        period, id = snapshot.periods.get(kind), snapshot.fields.get(kind, "")
        bucket = f"{kind}:{id}"
        if not period or record.openings is None or bucket in record.openings or bucket in record.buckets:
            continue
        record.add_entry(Entry(RESET_OF[kind], bucket, period["amount"]))
        what = f"{bucket} was opened with {period['amount']}, and the ledger has no entry of it"
        drifts.append(Drift(record.id, "lost_opening", what, bucket, period["amount"], None))
        entry = reset_entry(kind, id, period["amount"])
        events.append(("opening", f"recovered:{record.id} {bucket}@{snapshot.now_ms}", 0, entry, {"reason": _REASON}))
    return drifts, events


def recover_charges(
    record: Record,
    snapshot: Snapshot,
    done: Iterable[Done],
    endings: Mapping[str, Sequence[Ending]],
    local_day: str,
) -> tuple[list[Drift], list[NewEvent]]:
    """Calls that ended in Redis and that the ledger never heard of. From which buckets they were paid is seen by what
    these lack. `endings`: what the ledger knows of reservations."""
    drifts: list[Drift] = []
    events: list[NewEvent] = []
    for call in sorted(done, key=lambda call: (call.ended_at_ms, call.id)):
        known = [ending for id in call.rows for ending in endings.get(id, ())]
        is_correction = bool(known) and {ending.outcome for ending in known} == {"lost"} and call.how != "expired"
        if not call.request or call.how not in _OUTCOMES or (known and not is_correction):
            continue
        charged = call.charged - sum(ending.charged for ending in known)
        if is_correction and charged == 0:
            continue
        entries = _charge(record, snapshot, charged)
        outcome = "corrected" if is_correction else _OUTCOMES[call.how]
        what = f"reservation {call.id} was {call.how} in Redis for {charged}, and the ledger has no row of it"
        drifts.append(Drift(record.id, "lost_event", what, call.id, charged, None))
        record.requests += not is_correction
        written_off = 0 if is_correction else call.written_off
        if written_off:
            entries += [Entry("USAGE", OVERDRAFT, -written_off), Entry("WRITE_OFF", OVERDRAFT, written_off)]
        facts: dict[str, str | int] = {
            "reservation": call.id, "outcome": outcome, "operation": call.operation, "model": call.model, "route": "",
            "key": "", "price_version": "", "day": local_day, "input": 0, "cached": 0, "cache_write": 0, "output": 0,
            "reasoning": 0, "estimated": 1, "status": 0, "cost": charged + written_off, "written_off": written_off,
            "started_at": call.ended_at_ms,
        }  # fmt: skip
        events.append(
            ("usage", f"{call.id}:late" if is_correction else call.id, call.ended_at_ms, _text(entries), facts)
        )
    tokens = snapshot.number("used_tokens") - record.used_tokens
    if events and tokens > 0:
        # Which call used them nobody knows; that they were used, Redis does.
        events[-1][4]["reported"] = tokens
        record.used_tokens += tokens
    return drifts, events


def recovered_terms(record: Record, snapshot: Snapshot) -> NewEvent:
    """Of an account whose opening the ledger never heard of: the tier and zone on which it is."""
    record.tier, record.zone = snapshot.fields["tier"], snapshot.fields.get("zone", "")
    facts: dict[str, str | int] = {"reason": _REASON, "tier": record.tier, "zone": record.zone}
    return "moved", f"recovered:{record.id} terms@{snapshot.now_ms}", 0, "", facts


def unlike_terms(record: Record, snapshot: Snapshot) -> list[str]:
    """Grants of which Redis knows a priority or an expiry that the ledger lacks. They are the record's from now on."""
    found = []
    for grant_id, grant in record.grants.items():
        written = read_grant(snapshot.grants.get(grant_id, ""), grant_id)
        if written is not None and terms_of(written) != terms_of(grant):
            found.append(grant_id)
    return found


def _charge(record: Record, snapshot: Snapshot, charged: int) -> list[Entry]:
    """The entries of a charge: from the buckets that have less in Redis than by the ledger, then from any that have
    something. A negative charge was given back."""
    entries: list[Entry] = []
    if charged < 0:
        left, held = in_redis(snapshot)
        more = {b: left.get(b, 0) + held.get(b, 0) - record.buckets.get(b, 0) for b in {*left, *held}}
        bucket = max(sorted(more), key=more.__getitem__, default=OVERDRAFT)
        entries.append(Entry("REFUND", bucket, -charged))
    else:
        rest = charged
        for room in (_lacking(record, snapshot), dict(record.buckets)):
            for bucket, amount in sorted(room.items(), key=_burn):
                units = min(rest, amount)
                if units > 0:
                    entries.append(Entry("USAGE", bucket, -units))
                    record.add_entry(entries[-1])
                    rest -= units
        if rest:
            entries.append(Entry("USAGE", OVERDRAFT, -rest))
            entries.append(Entry("WRITE_OFF", OVERDRAFT, rest))
        return entries
    for entry in entries:
        record.add_entry(entry)
    return entries


def _lacking(record: Record, snapshot: Snapshot) -> dict[str, int]:
    left, held = in_redis(snapshot)
    return {bucket: units - left.get(bucket, 0) - held.get(bucket, 0) for bucket, units in record.buckets.items()}


def _burn(item: tuple[str, int]) -> tuple[int, str]:
    kind = item[0].partition(":")[0]
    return (PERIODS.index(kind) if kind in PERIODS else len(PERIODS)), item[0]


def _text(entries: Sequence[Entry]) -> str:
    return "; ".join(f"{entry.kind} {entry.bucket} {entry.amount}" for entry in entries)


def unknown_to_both(record: Record, snapshot: Snapshot, lost: Sequence[Lost]) -> list[Lost]:
    """Those of the account that Redis does not know either, nor any event that waits."""
    known = record.grants.keys() | snapshot.grants.keys()
    return [each for each in lost if each.account == record.id and each.id not in known]


def lost_credits(lost: Lost) -> Drift:
    what = f"grant {lost.id} of {lost.amount} was made for {lost.cause}, and neither Redis nor the ledger knows it"
    return Drift(lost.account, "lost_credits", what, lost.id)
