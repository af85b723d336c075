"""`open`: makes an account known before its first call, or moves it to another tier."""

from __future__ import annotations

from gateway.domain.reservation import Opened, Reserved
from tests.lua.caller import FREE, MIDNIGHT_MS, NOON_MS, PAYG, Caller, contents
from tests.lua.conftest import NewCaller


def test_an_opened_account_has_its_sign_up_grant_and_no_allowance_yet(caller: Caller) -> None:
    assert caller.open() == Opened("opened", version=1, tier="free", zone="")

    account = caller.account()
    assert (account.status, account.granted, account.requests, account.first_seen_ms) == ("active", 15, 0, NOON_MS)
    assert caller.left() == {"credits:signup": 15}
    event = caller.event()
    assert (event.kind, event.tier, event.zone) == ("opening", "free", "")
    assert [(e.kind, e.bucket, e.amount) for e in event.entries] == [("SIGNUP", "credits:signup", 15)]


def test_an_account_of_a_tier_that_gives_nothing_is_in_the_ledger_all_the_same(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)

    caller.open(zone="Asia/Bangkok")

    event = caller.event()
    assert (event.tier, event.zone, event.entries) == ("payg", "Asia/Bangkok", ())


def test_a_repeat_finds_it_there_and_changes_nothing(caller: Caller) -> None:
    caller.open()
    before = contents(caller.client)

    assert caller.open() == Opened("exists", version=1, tier="free", zone="")
    assert caller.open(move=True) == Opened("exists", version=1, tier="free", zone="")
    assert contents(caller.client) == before


def test_whoever_opened_it_is_told_so_again_for_as_long_as_that_is_kept(caller: Caller) -> None:
    caller.open(id="o1", remember_ms=60_000)
    before = contents(caller.client)

    assert caller.open(id="o1", remember_ms=60_000) == Opened("opened", version=1, tier="free", zone="")
    assert caller.open(id="o2", remember_ms=60_000).how == "exists"
    assert caller.open(id="o1").how == "exists"
    assert contents(caller.client) == before
    caller.client.delete("qg:{p00}:done:o1")
    assert caller.open(id="o1", remember_ms=60_000).how == "exists"


def test_an_account_on_another_tier_is_left_there(caller: Caller) -> None:
    caller.open()
    before = contents(caller.client)

    assert caller.open(PAYG) == Opened("exists", version=1, tier="free", zone="")
    assert contents(caller.client) == before


def test_an_account_is_moved_when_asked(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.events()

    assert caller.open(PAYG, zone="Asia/Bangkok", move=True) == Opened("moved", 2, "payg", "Asia/Bangkok")

    account = caller.account()
    assert (account.tier, account.zone, account.version) == ("payg", "Asia/Bangkok", 2)
    assert caller.left() == {"day:2026-11-20": 4, "credits:signup": 15}
    event = caller.event()
    assert (event.kind, event.account, event.at_ms) == ("moved", "ada", NOON_MS)
    assert (event.tier, event.zone, event.entries) == ("payg", "Asia/Bangkok", ())


def test_a_move_that_is_repeated_is_made_once(caller: Caller) -> None:
    caller.open()
    caller.open(PAYG, move=True)
    before = contents(caller.client)

    assert caller.open(PAYG, move=True) == Opened("exists", version=2, tier="payg", zone="")
    assert contents(caller.client) == before


def test_moving_there_and_back_gives_no_second_sign_up_grant(caller: Caller) -> None:
    caller.open(PAYG)

    assert caller.open(FREE, move=True).how == "moved"
    assert caller.open(PAYG, move=True).how == "moved"
    assert caller.open(FREE, move=True) == Opened("moved", version=4, tier="free", zone="")

    assert caller.left() == {}
    assert [event.kind for event in caller.events()] == ["opening", "moved", "moved", "moved"]


def test_a_zone_alone_is_a_move(caller: Caller) -> None:
    caller.open()

    assert caller.open(zone="America/Havana", move=True) == Opened("moved", 2, "free", "America/Havana")


def test_a_hold_made_before_a_move_ends_as_it_began(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.open(PAYG, move=True)

    caller.settle("r1", 6)

    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 14}
    assert caller.reserve("r2", 1) == Reserved("r2", version=2, left=13, resets_at_ms=MIDNIGHT_MS)
