"""Balances: read as they stand with what the next call opens, and granted to, once each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from gateway.accounts import api_keys, balances, corrections
from gateway.accounts.corrections import GrantTerms
from gateway.accounts.noting import new_by
from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.event import read_event
from gateway.domain.period import day_windows, month_windows
from gateway.domain.reservation import Reserved
from gateway.domain.schedule import schedule
from gateway.domain.tier import MAX_UNITS
from gateway.store import calls, nudge
from tests.support.config import config_text

JAKARTA = ZoneInfo("Asia/Jakarta")


def grant(system: System, amount: int = 50, id: str = "t1", account: str = "ada", reason: str = "paid") -> int:
    return balances.grant(system, account, amount, id, reason)


def events(system: System) -> list[str]:
    found: Any = system.redis.xrange("qg:{p00}:events")
    read = [read_event({k.decode(): v.decode() for k, v in fields.items()}) for _, fields in found]
    return [f"{entry.kind} {entry.bucket} {entry.amount:+d}" for event in read for entry in event.entries]


def reserve(system: System, account: str, amount: int) -> None:
    """As a gateway holds a call, which opens what is due."""
    view = balances.read(system, account).account
    tier = system.tier(view.tier)
    terms = calls.terms("chat", "/v1", "p1", tier, schedule(tier, view.now_ms))
    key = system.keys.account(account)
    held = system.runner.run(calls.reserve(key, f"r-{amount}", amount, terms, version=view.version))
    assert isinstance(held, Reserved)


# ── read ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("account", ["ada", "", "a b", "*", "[x]"])
def test_the_balance_of_an_account_that_is_not_there_is_refused(system: System, account: str) -> None:
    with pytest.raises(NotFound, match="there is no account"):
        balances.read(system, account)


def test_an_account_can_draw_on_the_allowance_that_its_next_call_opens(system: System) -> None:
    api_keys.create(system, ["ada"])

    found = balances.read(system, "ada")

    assert [(bucket.kind, bucket.left) for bucket in found.account.buckets] == [("credits", 15)]
    (day,) = found.due
    assert (day.kind, day.amount, day.left, day.held, day.ends_at_ms) == ("day", 5, 5, 0, found.resets_at_ms)
    assert (found.account.left, found.available) == (15, 20)


def test_what_is_open_is_not_due_again(system: System) -> None:
    api_keys.create(system, ["ada"])
    reserve(system, "ada", 2)

    found = balances.read(system, "ada")

    assert found.due == ()
    assert {bucket.kind: bucket.left for bucket in found.account.buckets} == {"day": 3, "credits": 15}
    assert (found.available, found.account.held) == (18, 2)


def test_a_monthly_tier_is_due_a_month(system: System) -> None:
    api_keys.create(system, ["ada"], "pro")

    found = balances.read(system, "ada")

    month = month_windows(found.account.now_ms, JAKARTA)
    assert [(b.kind, b.id, b.left, b.ends_at_ms) for b in found.due] == [("month", month.id, 10**9, month.ends_ms)]
    assert found.available == 10**9 + 10**6


def test_the_day_ends_where_the_tier_is(system: System) -> None:
    api_keys.create(system, ["ada"])

    found = balances.read(system, "ada")

    assert found.resets_at_ms == day_windows(found.account.now_ms, JAKARTA).ends_ms


def test_the_day_ends_where_the_account_is_when_it_has_a_zone_of_its_own(system: System) -> None:
    system.runner.run(calls.open_account(system.keys.account("ada"), system.tier("free"), zone="America/Havana"))

    found = balances.read(system, "ada")

    assert found.resets_at_ms == day_windows(found.account.now_ms, ZoneInfo("America/Havana")).ends_ms


def test_the_next_reset_is_that_of_the_allowance_that_ends_first(system: System) -> None:
    api_keys.create(system, ["ada"], "pro")

    found = balances.read(system, "ada")

    assert found.resets_at_ms == month_windows(found.account.now_ms, JAKARTA).ends_ms


def test_what_will_roll_over_is_due_with_the_allowance(system: System) -> None:
    text = config_text().replace('every = "day", amount = 5', 'every = "day", amount = 5, rollover = 2')
    rolling = replace(system, config=parse(text, "config.toml", {}))
    api_keys.create(rolling, ["ada"])
    ended: dict[Any, Any] = {"day": "2026-11-01", "day_left": 0, "day_ends": 1, "day_rest": 9}
    rolling.redis.hset(rolling.keys.account("ada"), mapping=ended)

    [day] = balances.read(rolling, "ada").due

    assert (day.amount, day.left) == (7, 7)


def test_the_redis_keys_behind_a_balance_are_named_and_are_there(system: System) -> None:
    api_keys.create(system, ["ada"])
    reserve(system, "ada", 2)

    found = balances.read(system, "ada")

    names = balances.redis_keys(system, found.account)
    day = next(bucket.id for bucket in found.account.buckets if bucket.kind == "day")
    assert "qg:{p00}:account:ada" in names
    assert f"qg:{{p00}}:day:ada:{day}" in names
    assert "qg:{p00}:credits:ada" in names
    assert all(system.redis.exists(key) for key in names)


def test_reading_a_balance_changes_nothing(system: System) -> None:
    api_keys.create(system, ["ada"])
    before = {key: system.redis.dump(key) for key in system.redis.scan_iter()}

    balances.read(system, "ada")

    assert {key: system.redis.dump(key) for key in system.redis.scan_iter()} == before


# ── granted ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_is_credited_and_recorded(system: System) -> None:
    api_keys.create(system, ["ada"])

    assert grant(system) == 65

    assert balances.read(system, "ada").account.left == 65
    assert events(system) == ["SIGNUP credits:signup +15", "TOP_UP credits:t1 +50"]


def test_a_grant_is_credited_once_however_often_it_is_repeated(system: System) -> None:
    api_keys.create(system, ["ada"])

    assert [grant(system) for _ in range(3)] == [65, 65, 65]
    assert events(system).count("TOP_UP credits:t1 +50") == 1


def test_a_grant_with_a_used_id_and_another_amount_is_refused(system: System) -> None:
    grant(system, 50)

    with pytest.raises(Conflicting, match="grant t1 was credited before with 50, not 51"):
        grant(system, 51)
    assert balances.read(system, "ada").account.left == 65


def test_two_accounts_may_have_grants_of_the_same_id(system: System) -> None:
    assert grant(system, 50, account="ada") == 65
    assert grant(system, 60, account="bob") == 75


def test_a_grant_opens_an_unknown_account_on_the_default_tier(system: System) -> None:
    grant(system, account="new")

    account = balances.read(system, "new").account
    assert (account.tier, account.left) == ("free", 65)


@pytest.mark.parametrize("amount", [0, -1, -(2**60), MAX_UNITS + 1, 10**30])
def test_an_amount_out_of_range_is_refused(system: System, amount: int) -> None:
    with pytest.raises(RefusedInput, match=f"the amount is {amount}"):
        grant(system, amount)
    assert list(system.redis.scan_iter("*account*")) == []


def test_a_grant_that_could_not_be_counted_exactly_is_refused(system: System) -> None:
    api_keys.create(system, ["ada"], "payg")
    assert grant(system, MAX_UNITS, "all") == MAX_UNITS

    with pytest.raises(RefusedInput, match=f"account ada was granted {MAX_UNITS} already; 1 more"):
        grant(system, 1, "more")
    assert balances.read(system, "ada").account.left == MAX_UNITS


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"account": ""}, "'' is no account id"),
        ({"account": "a b"}, "'a b' is no account id"),
        ({"id": ""}, "'' is no grant id"),
        ({"id": "a=b"}, "'a=b' is no grant id"),
        ({"id": "a;b"}, "'a;b' is no grant id"),
        ({"id": "x" * 201}, "is no grant id"),
        ({"reason": ""}, "the reason must be"),
        ({"reason": "x" * 1001}, "the reason must be"),
        ({"reason": "a\nb"}, "the reason must be"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_and_nothing_is_written(
    system: System, bad: dict[str, str], said: str
) -> None:
    with pytest.raises(RefusedInput, match=said):
        grant(system, **bad)  # type: ignore[arg-type]
    assert list(system.redis.scan_iter("*account*")) == []


def test_a_grant_wakes_the_worker(system: System) -> None:
    grant(system)

    (job,) = Queue("quotagate", connection=system.redis, serializer=JSONSerializer).jobs
    assert (job.func_name, job.args) == ("worker.drain.drain", ["p00"])


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_accounts_are_listed_those_last_seen_first(system: System) -> None:
    for number, account in enumerate(("ada", "bob", "cleo")):
        opened = calls.open_account(system.keys.account(account), system.tier("free"), now_ms=10**12 + number * 1000)
        system.runner.run(opened)

    assert [account.id for account in balances.all_accounts(system, 10)] == ["cleo", "bob", "ada"]
    assert [account.id for account in balances.all_accounts(system, 2)] == ["cleo", "bob"]


def test_accounts_with_strange_names_are_listed_under_them(system: System) -> None:
    names = {"a:account:b", "josé", "用户", "{x}", "a*"}
    api_keys.create(system, sorted(names))

    assert {account.id for account in balances.all_accounts(system, 10)} == names


def test_a_tier_that_the_config_no_longer_has_is_read_as_the_default_one(system: System) -> None:
    assert system.tier("gold") is system.tier("free")


def test_a_grant_whose_nudge_is_lost_went_through_all_the_same(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's schedule finds its event a moment later."""

    def fail(*_: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(nudge, "nudge", fail)

    assert grant(system, 50) == 65
    assert "TOP_UP credits:t1 +50" in events(system)


@pytest.mark.parametrize("id", ["order:ord_1", "subscription:sub_1:3", "code:WELCOME:1", "check_in:2026-11-21"])
def test_operators_make_no_grant_under_an_id_that_something_is_owed_by(system: System, id: str) -> None:
    with pytest.raises(RefusedInput, match="begin those of orders and rewards"):
        corrections.grant(system, new_by("cli:root", "a gift"), "ada", GrantTerms(id, 5))
