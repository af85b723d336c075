"""`void`: takes back what a grant has left."""

from __future__ import annotations

from gateway.domain.acts import Voided
from gateway.domain.reservation import Denied, Granted, Reserved, Unknown
from tests.lua.caller import LEASE_MS, MIDNIGHT_MS, MINUTE_MS, NOON_MS, PAYG, Caller, contents
from tests.lua.conftest import NewCaller
from tests.lua.test_changes import changes


def test_what_a_grant_has_left_is_taken_back(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.grant("order-8", 5)
    caller.use("u1", 20)
    caller.events()

    assert caller.void("order-7", "the bank took it; = back", id="v1") == Voided("v1", amount=30, left=5)

    assert caller.left() == {"credits:order-8": 5}
    account = caller.account()
    assert (account.granted, account.spent, account.held) == (25, 20, 0)
    event = caller.event()
    assert (event.kind, event.id, event.at_ms) == ("voided", "voided:ada order-7", NOON_MS)
    assert event.reason == "the bank took it; = back"
    assert [(e.kind, e.bucket, e.amount) for e in event.entries] == [("ADJUSTMENT", "credits:order-7", -30)]
    assert changes(caller) == 3


def test_a_repeat_takes_nothing_more_and_tells_the_same_amount(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.void("order-7")
    caller.grant("order-8", 5)
    before = contents(caller.client)

    assert caller.void("order-7", "once more", id="v2") == Voided("v2", amount=50, left=5)
    assert contents(caller.client) == before


def test_a_voided_grant_credits_no_second_time(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.void("order-7")
    before = contents(caller.client)

    assert caller.grant("order-7", 50) == Granted("order-7", left=0)
    assert contents(caller.client) == before
    assert isinstance(caller.reserve("r1", 1), Denied)


def test_what_open_calls_hold_is_theirs_and_what_they_give_back_lapses(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.reserve("r1", 10)
    caller.reserve("r2", 10)
    caller.reserve("r3", 10)
    assert caller.void("order-7") == Voided("void", amount=20, left=0)
    caller.events()

    caller.settle("r1", 4)
    caller.release("r2")
    caller.settle("r3", 10)

    assert caller.entries() == [
        "EXPIRY credits:order-7 -6", "USAGE credits:order-7 -4", "EXPIRY credits:order-7 -10",
        "USAGE credits:order-7 -10",
    ]  # fmt: skip
    assert caller.left() == {}
    account = caller.account()
    assert (account.granted, account.spent, account.held) == (14, 14, 0)


def test_a_late_settlement_gives_nothing_back_to_it(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.lose("r1", 10, on_lost="charge_hold")
    caller.void("order-7")
    caller.events()

    caller.settle("r1", 4)

    assert caller.left() == {}
    assert caller.entries() == ["EXPIRY credits:order-7 -6", "REFUND credits:order-7 +6"]


def test_a_grant_with_nothing_left_is_ended_all_the_same(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.reserve("r1", 50)
    caller.events()

    assert caller.void("order-7") == Voided("void", amount=0, left=0)
    assert (caller.event().kind, caller.void("order-7")) == ("voided", Voided("void", amount=0, left=0))
    caller.release("r1")
    assert caller.left() == {}


def test_a_grant_that_has_lapsed_has_nothing_left(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50, expires_s=(NOON_MS + MINUTE_MS) // 1000)
    caller.events()
    caller.now_ms += MINUTE_MS

    assert caller.void("order-7") == Voided("void", amount=0, left=0)
    assert caller.entries() == ["EXPIRY credits:order-7 -50"]
    assert caller.account().granted == 0


def test_a_sign_up_grant_can_be_voided_and_the_day_stays(caller: Caller) -> None:
    caller.reserve("r1", 1)

    assert caller.void("signup") == Voided("void", amount=15, left=4)
    assert caller.reserve("r2", 4) == Reserved("r2", version=1, left=0, resets_at_ms=MIDNIGHT_MS)


def test_an_expiry_that_comes_after_it_takes_nothing_more(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50, expires_s=(NOON_MS + LEASE_MS) // 1000)
    caller.grant("order-8", 5)
    caller.void("order-7")
    caller.events()
    caller.now_ms += LEASE_MS

    assert caller.reserve("r1", 5) == Reserved("r1", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.entries() == []


def test_what_nobody_knows_is_not_voided(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    assert caller.void("order-7") == Unknown("void")
    caller.open()
    before = contents(caller.client)

    assert caller.void("order-7") == Unknown("void")
    assert contents(caller.client) == before


def test_what_goes_back_with_its_money_is_a_reversal_and_nothing_that_calls_cost(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order:o7", 50)
    caller.use("u1", 20)
    caller.events()

    assert caller.void("order:o7", "order o7 was refunded", kind="REVERSAL") == Voided("void", amount=30, left=0)

    assert caller.entries() == ["REVERSAL credits:order:o7 -30"]
    account = caller.account()
    assert (account.granted, account.spent, account.held) == (20, 20, 0)
