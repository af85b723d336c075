"""Where an account in Redis and the ledger differ: each difference by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gateway.accounts.truth import Running, Standing, credits_of, next_expiry_ms
from gateway.domain.books import Grant, Record, read_grant
from gateway.domain.tier import PERIODS
from gateway.ledger.books import Sums
from gateway.store.repair import Snapshot

#: What the burn order is scored by: `lua/lib/buckets.lua` has the same numbers.
_NEVER_S = 9_999_999_999
_PRIORITY = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference."""

    account: str
    #: lost_account, balance, totals, counters, terms, lost_hold, ended_hold, misplaced_hold, lost_grant, unknown_grant,
    #: lost_credits, grant_terms, lost_opening, lost_event, burn_order, ledger_sums or moving.
    kind: str
    #: What it is, in words.
    what: str
    #: What it is about: a bucket, a total, a grant, a reservation; "" for the account itself.
    about: str = ""
    #: Units, or whatever is counted, in Redis and by the ledger; None: it is not about a number.
    redis: int | None = None
    ledger: int | None = None
    #: Open holds behind it, by their ids.
    holds: tuple[str, ...] = ()


def differences(snapshot: Snapshot, record: Record, found: Standing, *, counters: bool) -> list[Drift]:
    """Where the account differs from how it ought to stand. `counters`: whether its counts of calls and tokens can be
    compared, because it was not called meanwhile."""
    drifts = [
        *_buckets(snapshot, record, found),
        *_holds(snapshot, record, found),
        *_totals(snapshot, record, found),
        *_grants(snapshot, record),
    ]
    if counters:
        requests = record.requests + len(found.holds)
        for name, right in (("used_tokens", record.used_tokens), ("requests", requests)):
            if snapshot.number(name) != right:
                drifts.append(_number(record, "counters", name, snapshot.number(name), right))
    if not drifts and snapshot.order != _right_order(record, found):
        drifts.append(Drift(record.id, "burn_order", "its grants do not stand in their burn order"))
    return drifts


def _buckets(snapshot: Snapshot, record: Record, found: Standing) -> list[Drift]:
    left, held = in_redis(snapshot)
    drifts = []
    for bucket in sorted({*left, *found.left, *held, *found.held}):
        has = left.get(bucket, 0) + held.get(bucket, 0)
        right = found.left.get(bucket, 0) + found.held.get(bucket, 0)
        if has != right:
            holds = tuple(hold.id for hold in snapshot.holds if bucket in hold.parts)
            what = f"{bucket} has {has} in Redis, left and held, and {right} by the ledger"
            drifts.append(Drift(record.id, "balance", what, bucket, has, right, holds))
    for kind, period in snapshot.periods.items():
        bucket = f"{kind}:{snapshot.fields[kind]}"
        is_running = snapshot.now_ms < snapshot.number(f"{kind}_ends")
        if is_running and not period:
            drifts.append(Drift(record.id, "balance", f"the key of {bucket} is gone before its end", bucket))
        elif is_running and period["left"] != snapshot.number(f"{kind}_left"):
            mirror = snapshot.number(f"{kind}_left")
            what = f"{bucket} has {period['left']} left, and the account says {mirror}"
            drifts.append(Drift(record.id, "balance", what, bucket, mirror, period["left"]))
        elif is_running and period["held"] != held.get(bucket, 0):
            what = f"{bucket} says that {period['held']} are held, and open calls hold {held.get(bucket, 0)}"
            drifts.append(Drift(record.id, "balance", what, bucket, period["held"], held.get(bucket, 0)))
    for kind, right_period in found.periods.items():
        if snapshot.fields.get(kind) != right_period.id:
            what = f"the {kind} opened last is {right_period.id}, and Redis says {snapshot.fields.get(kind) or 'none'}"
            drifts.append(Drift(record.id, "balance", what, f"{kind}:{right_period.id}"))
    return drifts


def _holds(snapshot: Snapshot, record: Record, found: Standing) -> list[Drift]:
    drifts = []
    for hold in snapshot.holds:
        if hold.id not in found.holds:
            what = f"hold {hold.id} is open in Redis, and the ledger knows that it has ended"
            drifts.append(Drift(record.id, "ended_hold", what, hold.id, sum(hold.parts.values()), 0, (hold.id,)))
        elif hold.lease_until_ms is None:
            what = f"hold {hold.id} has no place among those that the sweeper looks at"
            drifts.append(Drift(record.id, "misplaced_hold", what, hold.id, holds=(hold.id,)))
    held = sum(sum(hold.parts.values()) for hold in snapshot.holds)
    if snapshot.number("held") != held:
        what = f"{snapshot.number('held')} are held, and the holds that are there hold {held}: a hold was lost"
        drifts.append(
            Drift(
                record.id, "lost_hold", what, "held", snapshot.number("held"), held,
                tuple(hold.id for hold in snapshot.holds),
            )
        )  # fmt: skip
    return drifts


def _totals(snapshot: Snapshot, record: Record, found: Standing) -> list[Drift]:
    drifts = [
        _number(record, "totals", name, snapshot.number(name), right)
        for name, right in (("granted", found.granted), ("spent", found.spent))
        if snapshot.number(name) != right
    ]
    for name, told in (("tier", record.tier), ("zone", record.zone), ("status", record.status)):
        if told is not None and snapshot.fields.get(name) != told:
            what = f"its {name} is {snapshot.fields.get(name)!r} in Redis and {told!r} by the ledger"
            drifts.append(Drift(record.id, "terms", what, name))
    expiry, noted = next_expiry_ms(found, record), snapshot.number("next_expiry")
    if expiry and (noted == 0 or noted > expiry):
        what = f"a grant expires at {expiry}, and the account looks for none before {noted or 'ever'}"
        drifts.append(Drift(record.id, "totals", what, "next_expiry", noted, expiry))
    return drifts


def _grants(snapshot: Snapshot, record: Record) -> list[Drift]:
    drifts = []
    for grant_id, grant in record.grants.items():
        written = read_grant(snapshot.grants.get(grant_id, ""), grant_id)
        if written is None:
            what = f"grant {grant_id} of {grant.amount} is in the ledger, and Redis does not know it"
            drifts.append(Drift(record.id, "lost_grant", what, grant_id, None, grant.amount))
        elif grant.voided is not None and written.voided is None:
            what = f"grant {grant_id} was voided, and Redis does not know that"
            drifts.append(Drift(record.id, "lost_grant", what, grant_id))
        elif terms_of(written) != terms_of(grant):
            what = f"the ledger does not have the priority or expiry of grant {grant_id}"
            drifts.append(Drift(record.id, "grant_terms", what, grant_id))
    return drifts


def unlike_sums(account: str, kept: Sums, added: Sums) -> Drift:
    """The ledger's sums, as they are kept and as its rows add up."""
    names = [name for name, value in asdict(kept).items() if value != asdict(added)[name]]
    what = f"the ledger's sums of {', '.join(names)} are not those of its rows"
    return Drift(account, "ledger_sums", what, " ".join(names))


def terms_of(grant: Grant) -> tuple[int, int]:
    return grant.priority, grant.expires_s


def in_redis(snapshot: Snapshot) -> tuple[dict[str, int], dict[str, int]]:
    """By bucket, what an account has left and what its holds hold, in Redis. Of a period whose key is gone, because it
    is over or by hand, the account itself says what it had left."""
    left = {f"credits:{grant_id}": units for grant_id, units in snapshot.credits.items()}
    for kind, period in snapshot.periods.items():
        left[f"{kind}:{snapshot.fields[kind]}"] = period["left"] if period else snapshot.number(f"{kind}_left")
    held: dict[str, int] = {}
    for hold in snapshot.holds:
        for bucket, amount in hold.parts.items():
            held[bucket] = held.get(bucket, 0) + amount
    return left, held


def periods_in_redis(snapshot: Snapshot) -> dict[str, Running]:
    """By kind, the period opened last, by Redis."""
    return {
        kind: Running(
            snapshot.fields[kind],
            snapshot.periods.get(kind, {}).get("amount", snapshot.number(f"{kind}_left")),
            snapshot.number(f"{kind}_ends"),
        )
        for kind in PERIODS
        if snapshot.fields.get(kind)
    }


def _number(record: Record, kind: str, name: str, has: int, right: int) -> Drift:
    return Drift(record.id, kind, f"{name} is {has} in Redis and {right} by the ledger", name, has, right)


def _right_order(record: Record, found: Standing) -> Mapping[str, float]:
    order = {}
    for grant_id, _ in credits_of(found.left):
        grant = record.grants.get(grant_id, Grant(0))
        order[f"{grant.granted_at_ms:013d}/{grant_id}"] = float(
            grant.priority * _PRIORITY + (grant.expires_s or _NEVER_S)
        )
    return order
