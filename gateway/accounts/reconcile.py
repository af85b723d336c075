"""Compares Redis with the ledger, account by account, and mends what differs.

Both are read as they stood at one instant: a script takes the account, its holds and the end of the event stream
together; then come the events that wait, then the ledger; what was recorded after that instant is taken out again. So
calls may go on meanwhile. What is mended is written only where the account still stands as it was inspected; else it is
looked at again.

The ledger is right about balances, and Redis about what the ledger never heard: a grant, an opening, a call that was
charged. That is recovered as rows first.
"""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from gateway.accounts import audit, payouts
from gateway.accounts.drift import Drift, differences, in_redis, periods_in_redis, unlike_sums
from gateway.accounts.payouts import Lost
from gateway.accounts.pending import Pending
from gateway.accounts.recovery import (
    Done,
    NewEvent,
    lost_credits,
    recover_charges,
    recover_grants,
    recover_openings,
    recovered_terms,
    unknown_to_both,
    unlike_terms,
)
from gateway.accounts.remains import Remains
from gateway.accounts.restore import BATCH, is_opened, longest_ms, other_tiers, restore_some
from gateway.accounts.system import System
from gateway.accounts.truth import LONGEST_MS, Running, Standing, kept, last_periods, next_expiry_ms, plan_of, standing
from gateway.domain.books import Ending, Record, read_grant
from gateway.domain.schedule import anchor_of
from gateway.ledger import books
from gateway.store import epoch
from gateway.store.repair import OpenHold, Plan, Snapshot, inspect, restore

#: So often an account that moves is looked at again, before it is left for the next time.
LOOKS = 20
#: What was recorded after the inspection carries an instant from about then.
_CLOCK_SKEW_MS = 60_000

#: Called with how many accounts were looked at.
Progress = Callable[[int], None]


@dataclass(slots=True)
class Finding:
    """What is known of one account, from both sides, and how it ought to stand."""

    snapshot: Snapshot
    record: Record
    standing: Standing
    drifts: list[Drift]
    #: What the ledger has to hear.
    events: list[NewEvent] = field(default_factory=list)
    #: The account's sums in the ledger are not those of its rows.
    sums_differ: bool = False
    #: Grants whose terms only Redis knows.
    unlike: list[str] = field(default_factory=list)
    #: Grants that were decided and made, and that neither side knows any more.
    lost: list[Lost] = field(default_factory=list)
    #: Of an account that Redis does not know: holds of it that Redis knows all the same.
    open_holds: list[OpenHold] = field(default_factory=list)
    #: Ids of holds that were told to `inspect`.
    known_holds: list[str] = field(default_factory=list)


def drift(system: System, limit: int | None = None, *, account: str | None = None) -> Iterator[Drift]:
    """The differences of all accounts, or of one; of `limit` accounts that have any at the most. Changes nothing."""
    for finding in islice(_suspects(system, account, lambda looked_at: None), limit):
        yield from finding.drifts


def reconcile(
    system: System,
    *,
    fix: bool = False,
    account: str | None = None,
    actor: str | None = None,
    progress: Progress = lambda looked_at: None,
) -> Iterator[tuple[Drift, bool]]:
    """Each difference, and whether it was mended. `actor`: who mends, for the audit log.

    Raises StoreUnavailable, and what redis-py and SQLAlchemy raise: what is mended by then stays mended.
    """
    for finding in _suspects(system, account, progress):
        mended = fix and _mend(system, finding, actor or f"cli:{getpass.getuser()}")
        for difference in finding.drifts:
            yield difference, mended


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _suspects(system: System, account: str | None, progress: Progress) -> Iterator[Finding]:
    """Accounts that differ, each looked at once more by itself, with all that Redis remembers of its calls."""
    pending, remains = Pending(system), Remains(system)
    looked_at = 0
    for batch in [[account]] if account is not None else _batches(system):
        remains.list_holds()
        suspicious = [f.record.id for f in _look(system, batch, pending, remains) if f.drifts or f.sums_differ]
        for id in suspicious:
            finding = _diagnose(system, id, pending, remains)
            if finding.drifts:
                yield finding
        looked_at += len(batch)
        progress(looked_at)


def _batches(system: System) -> Iterator[list[str]]:
    """All accounts, of the ledger and then those that Redis alone knows."""
    last, known = "", set()
    while True:
        with system.ledger.connect() as connection:
            batch = books.ids(connection, last, BATCH)
        if not batch:
            break
        known.update(batch)
        last = batch[-1]
        yield batch
    strangers = sorted(set(_in_redis(system)) - known)
    for start in range(0, len(strangers), BATCH):
        yield strangers[start : start + BATCH]


def _in_redis(system: System) -> Iterator[str]:
    for key in system.redis.scan_iter("qg:{p*}:account:*", count=1000):
        yield key.decode().partition(":account:")[2]


def _diagnose(system: System, account: str, pending: Pending, remains: Remains) -> Finding:
    """One account, with all that can be known of it. It may be as it ought to be, after all."""
    remains.list_holds()
    return _look(system, [account], pending, remains, done=remains.done_of(account))[0]


def _look(
    system: System, accounts: Sequence[str], pending: Pending, remains: Remains, done: Sequence[Done] | None = None
) -> list[Finding]:
    """Both sides of these accounts. `done`: how calls ended by Redis; None: it was not asked, and what the ledger never
    heard is not looked for."""
    known_holds = {account: remains.holds_of(account) for account in accounts}
    snapshots = dict(
        zip(
            accounts,
            system.runner.run_many([inspect(system.keys.account(id), known_holds[id]) for id in accounts]),
            strict=True,
        )
    )
    pending.look(accounts)
    positions = {id: _position(snapshot) for id, snapshot in snapshots.items()}
    now_ms = max(snapshot.now_ms for snapshot in snapshots.values())
    since_ms = min(snapshot.now_ms for snapshot in snapshots.values()) - _CLOCK_SKEW_MS
    openings_since = None if done is None else now_ms - max(longest_ms(system), LONGEST_MS)
    with books.snapshot(system.ledger) as connection:
        records = books.records(connection, accounts, openings_since)
        kept, added = books.kept_sums(connection, accounts), books.added_sums(connection, accounts)
        for id, record in records.items():
            # By its rows: sums that are wrong would look like a balance that is.
            record.granted, record.spent = added[id].granted, added[id].spent
            record.used_tokens, record.requests = added[id].used_tokens, added[id].requests
            record.buckets = dict(added[id].buckets)
        for id in accounts:
            if id not in records:
                records[id] = Record(id, openings=None if done is None else {})
        pending.add_to(connection, records, positions)
        lost = payouts.lost(connection, datetime.fromtimestamp(since_ms / 1000, UTC), accounts=accounts)
        for id, position, entry in books.entries_after(connection, accounts, since_ms):
            if position > positions[id]:
                records[id].add_entry(entry, -1)
        ids = [id for hold_ids in known_holds.values() for id in hold_ids]
        ids += [hold.id for snapshot in snapshots.values() for hold in snapshot.holds]
        ids += [id for call in done or () for id in call.rows]
        endings = books.endings(connection, sorted(set(ids)))
        called = books.calls_since(connection, accounts, since_ms + _CLOCK_SKEW_MS)
    for id in accounts:
        for event in pending.of(id):
            if event.usage is not None:
                # One that came after the snapshot has a hold in it.
                at_ms = event.at_ms if event.position <= positions[id] else now_ms + 1
                ending = Ending(event.usage.outcome, event.usage.cost - event.usage.written_off, at_ms)
                endings.setdefault(event.usage.reservation_id, []).append(ending)
    findings = []
    for id in accounts:
        # Holds of free calls hold nothing, and are known by the list alone.
        is_at_rest = id not in called and snapshots[id].number("last_seen") < remains.listed_at_ms
        finding = _compare(system, snapshots[id], records[id], endings, done, counters=is_at_rest)
        finding.known_holds = known_holds[id]
        finding.lost = unknown_to_both(records[id], snapshots[id], lost)
        finding.drifts += map(lost_credits, finding.lost)
        finding.sums_differ = id in kept and kept[id] != added[id]
        if finding.sums_differ:
            finding.drifts.append(unlike_sums(id, kept[id], added[id]))
        findings.append(finding)
    return findings


def _compare(
    system: System,
    snapshot: Snapshot,
    record: Record,
    endings: dict[str, list[Ending]],
    done: Sequence[Done] | None,
    *,
    counters: bool,
) -> Finding:
    if not snapshot.is_known:
        drifts = [Drift(record.id, "lost_account", "Redis does not know it")] if is_opened(record) else []
        return Finding(snapshot, record, standing(record, {}, ()), drifts, open_holds=_still_open(snapshot, endings))
    drifts, events = [], []
    if done is not None:
        tier = system.tier(snapshot.fields["tier"])
        local_day = anchor_of(tier, snapshot.now_ms, snapshot.fields.get("zone", ""))
        for more_drifts, more_events in (
            recover_grants(record, snapshot),
            recover_openings(record, snapshot),
            recover_charges(record, snapshot, done, endings, local_day),
        ):
            drifts += more_drifts
            events += more_events
    if record.tier is None:
        drifts.append(
            Drift(record.id, "terms", f"the ledger does not know its tier, {snapshot.fields['tier']!r}", "tier")
        )
        if done is not None:
            events.append(recovered_terms(record, snapshot))
    unlike = unlike_terms(record, snapshot)
    holds = _still_open(snapshot, endings)
    found = standing(record, _periods(system, snapshot, record), holds)
    if done is None and not _knows_all(record, snapshot):
        drifts.append(Drift(record.id, "unknown_grant", "Redis knows a grant that the ledger does not"))
    drifts += differences(snapshot, record, found, counters=counters)
    return Finding(snapshot, record, found, drifts, events, unlike=unlike)


def _still_open(snapshot: Snapshot, endings: dict[str, list[Ending]]) -> list[OpenHold]:
    """Its holds without those that the ledger knows as ended."""
    return [
        hold
        for hold in snapshot.holds
        if not any(ending.at_ms < snapshot.now_ms for ending in endings.get(hold.id, ()))
    ]


def _periods(system: System, snapshot: Snapshot, record: Record) -> dict[str, Running]:
    """By kind, the period opened last: as Redis says, unless the ledger knows of one that opened after its end."""
    tier = system.tier(record.tier or snapshot.fields["tier"])
    periods = periods_in_redis(snapshot)
    if record.openings is None:
        return periods
    for kind, last in last_periods(record, tier, other_tiers(system, tier), snapshot.now_ms).items():
        opening = record.openings.get(f"{kind}:{last.id}")
        known = periods.get(kind)
        if known is None or (last.id != known.id and opening is not None and opening.opened_at_ms >= known.ends_ms):
            periods[kind] = last
        elif last.id == known.id:
            periods[kind] = known._replace(amount=last.amount)
    return periods


def _knows_all(record: Record, snapshot: Snapshot) -> bool:
    return all(id in record.grants for id, text in snapshot.grants.items() if read_grant(text, id) is not None)


def _position(snapshot: Snapshot) -> int:
    """The place in the stream after which events came later than the snapshot, as the one number that
    `gateway.domain.event` makes of it. A stream that was lost, or is an old copy, has no event of the last moment."""
    at_ms, _, number = snapshot.last_event.partition("-")
    return max((int(at_ms) << 20) + min(int(number or 0), 2**20 - 1), (snapshot.now_ms << 20) - 1)


# ── mending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mend(system: System, finding: Finding, actor: str) -> bool:
    """Mends one account. Returns False when it moved between each look and the writing."""
    account, first = finding.record.id, finding
    if finding.sums_differ:
        books.mend_sums(system.ledger, account)
    if finding.unlike:
        _copy_terms(system, finding)
    for _ in range(LOOKS):
        if _write(system, finding):
            payouts.pay_again(system, first.lost)
            _note(system, first, actor)
            return True
        seen = system.runner.run(inspect(system.keys.account(account), finding.known_holds))
        if seen.is_known != finding.snapshot.is_known:
            return False  # It came back, or is gone: what is known of it says nothing about how it stands now.
        finding = _moved(system, finding, seen)
    return False


def _moved(system: System, finding: Finding, seen: Snapshot) -> Finding:
    """The finding at a later look. Whatever calls moved meanwhile, the ledger hears of it to the unit: so what it knows
    has moved by as much as the account has."""
    if not seen.is_known:
        there = {hold.id for hold in seen.holds}
        return replace(finding, snapshot=seen, open_holds=[hold for hold in finding.open_holds if hold.id in there])
    before, record = finding.snapshot, deepcopy(finding.record)
    (left, held), (left_then, held_then) = in_redis(seen), in_redis(before)
    for bucket in {*left, *held, *left_then, *held_then}:
        units = left.get(bucket, 0) + held.get(bucket, 0) - left_then.get(bucket, 0) - held_then.get(bucket, 0)
        record.buckets[bucket] = record.buckets.get(bucket, 0) + units
    record.buckets = {bucket: units for bucket, units in record.buckets.items() if units}
    for name in ("granted", "spent", "used_tokens"):
        setattr(record, name, getattr(record, name) + seen.number(name) - before.number(name))
    record.requests += seen.number("requests") - before.number("requests") - len(seen.holds) + len(before.holds)
    for id, text in seen.grants.items():
        if id not in before.grants and (grant := read_grant(text, id)) is not None:
            record.grants.setdefault(id, grant)
    has_ended = {hold.id for hold in before.holds} - finding.standing.holds.keys()
    holds = [hold for hold in seen.holds if hold.id not in has_ended]
    found = standing(record, _periods(system, seen, record), holds)
    return replace(finding, snapshot=seen, record=record, standing=found)


def _copy_terms(system: System, finding: Finding) -> None:
    """Copies what only Redis knows of grants into the ledger."""
    with system.ledger.begin() as connection:
        for grant_id in finding.unlike:
            written = read_grant(finding.snapshot.grants[grant_id], grant_id)
            assert written is not None
            books.mend_grant(connection, finding.record.id, grant_id, written)
            finding.record.grants[grant_id] = written


def _write(system: System, finding: Finding) -> bool:
    """Returns False when the account has moved meanwhile."""
    snapshot, record = finding.snapshot, finding.record
    if not snapshot.is_known:
        return restore_some(system, [record.id], {record.id: finding.open_holds}) == ["restored"]
    if all(drift.kind in ("ledger_sums", "grant_terms", "lost_credits") for drift in finding.drifts):
        return True
    plan = _plan(system, finding)
    call = restore(system.keys.account(record.id), snapshot.stamp, plan, finding.known_holds)
    return system.runner.run(call) == "restored"


def _plan(system: System, finding: Finding) -> Plan:
    snapshot, record, found = finding.snapshot, deepcopy(finding.record), finding.standing
    for name in ("tier", "zone"):
        if getattr(record, name) is None:
            setattr(record, name, snapshot.fields[name])
    plan = plan_of(found, record, snapshot.now_ms, system.config.default_tier)
    for name in ("first_seen", "last_seen"):
        del plan.fields[name]
    if all(snapshot.fields[name] == plan.fields[name] for name in ("tier", "zone", "status")):
        del plan.fields["version"]
    plan.fields["next_expiry"] = next_expiry_ms(found, record)
    plan.grants = {
        id: grant.record
        for id, grant in record.grants.items()
        if (written := read_grant(snapshot.grants.get(id, ""), id)) is None
        or (grant.voided is not None and written.voided is None)
    }
    for hold in snapshot.holds:
        if hold.id in found.holds:
            plan.kept.append(kept(hold, found.holds[hold.id], snapshot.now_ms))
        else:
            plan.ended.append(hold.id)
    plan.events = list(finding.events)
    if found.entries:
        reason: dict[str, str | int] = {"reason": "reconcile: what it has was put right"}
        plan.events.append(
            ("reconciled", f"reconciled:{record.id}@{snapshot.now_ms}", 0, "; ".join(found.entries), reason)
        )
    return plan


def _note(system: System, finding: Finding, actor: str) -> None:
    now = datetime.now(UTC)
    fields = finding.snapshot.fields
    before = {name: fields.get(name, "") for name in ("granted", "spent", "held", "status", "tier")}
    after = {
        "granted": finding.standing.granted,
        "spent": finding.standing.spent,
        "held": finding.standing.all_held,
        "drifts": [drift.what for drift in finding.drifts][:50],
    }
    audit.note(
        system.ledger,
        id=f"reconcile.fix:{now.timestamp():.6f}:{secrets.token_hex(8)}",
        actor=actor,
        action="reconcile.fix",
        target=f"account:{finding.record.id}",
        before=before,
        after=after,
        now=now,
    )


def is_ready(system: System) -> bool:
    """Whether Redis was told that it knows what the ledger knows; else `restore` comes first."""
    return not epoch.unready(system.redis, system.keys.all_partitions())
