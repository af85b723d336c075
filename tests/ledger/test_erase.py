"""Erasing an account: nothing names the person any more, and nothing that was counted is another number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, Table, insert, update

from gateway.domain.errors import Conflicting, RefusedInput
from gateway.ledger.erase import erase
from gateway.ledger.record import record
from gateway.ledger.sales import (
    claims,
    credit_totals,
    credits_due,
    orders,
    redemptions,
    referral_codes,
    referrals,
    subscriptions,
)
from gateway.ledger.tables import (
    account_buckets,
    accounts,
    api_keys,
    audit_log,
    deliveries,
    grants,
    ledger_entries,
    license_keys,
    metadata,
    notices,
    reports_to_apply,
    usage_daily,
    usage_events,
)
from tests.ledger.events import NOON_MS, grant, opening, usage
from tests.ledger.sold import INSTANT, order, subscription
from tests.ledger.tables import rows

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NEW = "erased:7f3a"


@pytest.fixture
def filled(ledger: Engine) -> Engine:
    """Two people in every table that names accounts."""
    for name in ("alice", "alice2"):
        said: dict[str, Any] = {"session": f"of {name}", "purpose": f"of {name}", "metadata": f'{{"by": "{name}"}}'}
        record(ledger, [opening(name), usage(f"r-{len(name)}", name, **said), grant("g1", name)])
        with ledger.begin() as connection:
            connection.execute(update(accounts).where(accounts.c.id == name).values(email=f"{name}@example.com"))
            for table, row in others(name):
                connection.execute(insert(table).values(row))
    return ledger


def others(name: str) -> list[tuple[Table, dict[str, Any]]]:
    key = {"digest": f"digest {len(name)}", "created_at": INSTANT}
    about = {"account": name, "created_at": INSTANT, "body": f'{{"account": "{name}"}}'}
    notice = f"low_balance {name} 2026-11-20"
    return [
        (api_keys, key | {"prefix": f"qg_{len(name)}", "account": name, "name": f"laptop of {name}"}),
        (license_keys, key | {"prefix": f"ql_{len(name)}", "owner": name, "trial": False, "status": "active"}),
        (
            audit_log,
            {"id": f"email:{name}:1", "occurred_at": INSTANT, "actor": "admin:bob", "action": "account.set_email",
             "target": f"account:{name}", "after": f'{{"email": "{name}@example.com"}}'},
        ),
        (notices, about | {"id": notice, "kind": "low_balance"}),
        (
            deliveries,
            {"id": f"{notice} email", "notice": notice, "channel": "email", "status": "sent", "next_try_at": INSTANT},
        ),
        (reports_to_apply, about | {"id": f"report-{len(name)}"}),
        *sold(name),
    ]  # fmt: skip


def sold(name: str) -> list[tuple[Table, dict[str, Any]]]:
    size = len(name)
    due = {"account": name, "kind": "TOP_UP", "amount": 100, "reason": "bought", "priority": 100, "created_at": INSTANT}
    friend = {"at": INSTANT}
    return [
        (orders, order(name) | {"state": "credited", "instruction": f'{{"va_number": "9 {name}"}}'}),
        (subscriptions, subscription(name) | {"state": "ended", "ended_at": INSTANT}),
        (redemptions, {"code": "WELCOME", "account": name, "number": 1, "at": INSTANT, "write_id": f"w{size}"}),
        (referral_codes, {"account": name, "code": f"CODE{size}", "created_at": INSTANT}),
        (referrals, friend | {"account": f"friend{size}", "referrer": name, "rewarded_at": INSTANT}),
        (referrals, friend | {"account": f"other{size}", "referrer": name}),
        (referrals, friend | {"account": name, "referrer": f"other{size}"}),
        (claims, {"account": name, "rule": "check_in", "period": "2026-11-20", "at": INSTANT, "streak": 1}),
        (credits_due, due | {"id": "g1", "cause": f"order:o{size}", "granted_at": INSTANT}),
        (credits_due, due | {"id": "g9", "cause": "code:WELCOME"}),
    ]


def everything(ledger: Engine) -> dict[str, list[dict[str, Any]]]:
    return {name: rows(ledger, table) for name, table in metadata.tables.items()}


def of(ledger: Engine, table: Table, account: str) -> list[dict[str, Any]]:
    named = table.c[{"accounts": "id"}.get(table.name, "account")].name
    return [row for row in rows(ledger, table) if row[named] == account]


def test_nothing_names_the_account_any_more_and_no_other_row_is_touched(filled: Engine) -> None:
    before = everything(filled)

    erase(filled, "alice", NEW, NOW)

    after = everything(filled)
    for table, was in before.items():
        others_of = [row for row in was if "alice2" in str(row)]
        assert [row for row in after[table] if "alice2" in str(row)] == others_of, table
    left = [row for table in after.values() for row in table if "alice2" not in str(row)]
    assert "alice" not in str(left)


def test_what_was_counted_stays_to_the_unit(filled: Engine) -> None:
    counted: tuple[tuple[Table, tuple[str, ...]], ...] = (
        (usage_events, ("id", "cost", "total_tokens", "occurred_at", "model", "key_prefix")),
        (ledger_entries, ("kind", "bucket", "amount", "occurred_at", "reason", "position")),
        (usage_daily, ("local_day", "model", "operation", "requests", "cost")),
        (account_buckets, ("bucket", "amount")),
        (grants, ("id", "kind", "amount", "granted_at", "voided_at")),
        (accounts, ("tier", "used_tokens", "requests", "granted", "spent", "first_seen_at", "last_seen_at")),
        (credit_totals, ("kind", "amount")),
        (orders, ("id", "price", "units", "state")),
        (subscriptions, ("id", "plan", "state")),
        (redemptions, ("code", "number")),
        (claims, ("rule", "period", "streak")),
    )
    before = [[[row[name] for name in names] for row in of(filled, table, "alice")] for table, names in counted]

    erase(filled, "alice", NEW, NOW)

    after = [[[row[name] for name in names] for row in of(filled, table, NEW)] for table, names in counted]
    assert [sorted(table, key=str) for table in after] == [sorted(table, key=str) for table in before]
    assert all(before)


def test_the_account_says_when_and_its_keys_are_revoked(filled: Engine) -> None:
    erase(filled, "alice", NEW, NOW)

    (account,) = of(filled, accounts, NEW)
    (key,) = of(filled, api_keys, NEW)
    assert (account["email"], account["erased_at"]) == ("", NOW)
    assert (key["name"], key["revoked_at"]) == ("", NOW)
    assert rows(filled, notices)[0]["account"] == "alice2"


def test_a_repeat_changes_nothing(filled: Engine) -> None:
    assert erase(filled, "alice", NEW, NOW) > 10
    before = everything(filled)

    assert erase(filled, "alice", NEW, NOW) == 0

    assert everything(filled) == before


def test_what_came_late_is_added_to_what_was_there(filled: Engine) -> None:
    erase(filled, "alice", NEW, NOW)
    record(filled, [usage("late", "alice", at_ms=NOON_MS + 5000), grant("g2", "alice", amount=7)])

    erase(filled, "alice", NEW, NOW)

    (account,) = of(filled, accounts, NEW)
    (day,) = of(filled, usage_daily, NEW)
    assert (account["requests"], account["spent"], account["granted"]) == (2, 6, 15 + 5 + 100 + 7)
    assert (day["requests"], day["cost"]) == (2, 6)
    assert {row["bucket"]: row["amount"] for row in of(filled, account_buckets, NEW)} == {
        "credits:g1": 100, "credits:g2": 7, "credits:signup": 15, "day:2026-11-20": -1,
    }  # fmt: skip
    assert [row["id"] for row in of(filled, grants, NEW)] == ["g1", "g2", "signup"]
    assert {row["kind"]: row["amount"] for row in of(filled, credit_totals, NEW)} == {"SIGNUP": 15, "TOP_UP": 107}
    assert of(filled, accounts, "alice") == []


def test_nobody_is_rewarded_for_an_account_that_is_gone_and_its_code_is_free(filled: Engine) -> None:
    erase(filled, "alice", NEW, NOW)

    found = {(row["account"], row["referrer"]): row["refused"] for row in rows(filled, referrals)}
    why = "one of the two accounts was deleted"
    assert {pair: refused for pair, refused in found.items() if NEW in pair} == {
        ("friend5", NEW): "", ("other5", NEW): why, (NEW, "other5"): why,
    }  # fmt: skip
    assert found["alice2", "other6"] == ""
    assert [row["code"] for row in rows(filled, referral_codes)] == ["CODE6"]


def test_units_on_their_way_to_it_are_not_sent_after_it(filled: Engine) -> None:
    erase(filled, "alice", NEW, NOW)

    assert [row["id"] for row in of(filled, credits_due, NEW)] == ["g1"]
    assert [row["id"] for row in of(filled, credits_due, "alice2")] == ["g1", "g9"]


@pytest.mark.parametrize("state", ["created", "pending", "paid", "review"])
def test_whoever_has_an_order_that_is_not_done_stays_known(filled: Engine, state: str) -> None:
    with filled.begin() as connection:
        connection.execute(insert(orders).values(order("alice") | {"id": "o1", "write_id": "w1", "state": state}))
    before = everything(filled)

    with pytest.raises(Conflicting, match=f"an order that is {state}, o1"):
        erase(filled, "alice", NEW, NOW)

    assert everything(filled) == before


@pytest.mark.parametrize("state", ["pending", "active", "grace"])
def test_whoever_has_a_subscription_stays_known(filled: Engine, state: str) -> None:
    with filled.begin() as connection:
        living = subscription("alice") | {"id": "s1", "write_id": "w1", "state": state}
        connection.execute(insert(subscriptions).values(living))
    before = everything(filled)

    with pytest.raises(Conflicting, match="a subscription, s1"):
        erase(filled, "alice", NEW, NOW)

    assert everything(filled) == before


def test_an_account_that_nobody_knows_is_no_row(filled: Engine) -> None:
    before = everything(filled)

    assert erase(filled, "nobody", NEW, NOW) == 0

    assert everything(filled) == before


@pytest.mark.parametrize(
    ("account", "anonymous_id"), [("alice", "bob"), ("alice", ""), ("alice", "erased:"), ("erased:1", "erased:2")]
)
def test_only_an_anonymous_id_takes_the_place_of_a_persons(filled: Engine, account: str, anonymous_id: str) -> None:
    before = everything(filled)

    with pytest.raises(RefusedInput):
        erase(filled, account, anonymous_id, NOW)

    assert everything(filled) == before
