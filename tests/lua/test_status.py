"""`status`: whether an account may call."""

from __future__ import annotations

from gateway.domain.acts import StatusSet, Used, Voided
from gateway.domain.reservation import Granted, Renewed, Reserved, Settled, Suspended, Unknown
from tests.lua.caller import MIDNIGHT_MS, NOON_MS, Caller, contents
from tests.lua.test_changes import changes


def test_a_suspended_account_may_not_spend_until_it_is_active_again(caller: Caller) -> None:
    caller.open()
    noted = changes(caller)

    assert caller.set_status("suspended") == StatusSet("status", version=2, before="active")

    assert caller.reserve("r1", 1) == Suspended("r1", "suspended")
    assert caller.use("u1", 1) == Suspended("u1", "suspended")
    assert (caller.account().status, caller.account().version) == ("suspended", 2)
    assert changes(caller) == noted + 1
    assert caller.set_status("active") == StatusSet("status", version=3, before="suspended")
    assert caller.reserve("r1", 1) == Reserved("r1", version=3, left=19, resets_at_ms=MIDNIGHT_MS)
    assert caller.use("u1", 1) == Used("u1", 19, 18, MIDNIGHT_MS)


def test_a_gateway_that_knew_the_account_hears_of_it_with_its_next_call(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.set_status("fraud")

    assert caller.version == 1
    assert caller.reserve("r2", 1) == Suspended("r2", "fraud")
    assert caller.version == 2


def test_it_is_told_to_the_ledger(caller: Caller) -> None:
    caller.open()
    caller.events()

    caller.set_status("suspended")
    caller.set_status("active")

    suspended, active = caller.events()
    assert (suspended.kind, suspended.account, suspended.at_ms) == ("status", "ada", NOON_MS)
    assert (suspended.status, active.status) == ("suspended", "active")
    assert (suspended.entries, suspended.tier, suspended.usage) == ((), None, None)
    assert suspended.id != active.id


def test_the_same_status_again_changes_nothing(caller: Caller) -> None:
    caller.open()
    caller.set_status("suspended")
    before = contents(caller.client)

    assert caller.set_status("suspended") == StatusSet("status", version=2, before="suspended")
    assert contents(caller.client) == before


def test_what_is_open_goes_on_and_what_is_given_arrives(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.set_status("suspended")

    assert caller.renew("r1", 1, more=1) == Renewed("r1", 3, left=17)
    assert caller.settle("r1", 3) == Settled("r1", 3, 0, left=17)
    assert caller.grant("order-7", 50) == Granted("order-7", left=67)
    assert caller.void("order-7") == Voided("void", amount=50, left=17)


def test_an_account_that_nobody_knows_is_not_opened(caller: Caller) -> None:
    assert caller.set_status("suspended") == Unknown("status")
    assert contents(caller.client) == {}
