"""Without an epoch no script opens an unknown account: Redis may have been emptied, and the ledger may know it."""

from __future__ import annotations

import pytest

from gateway.domain.errors import StoreUnready
from gateway.domain.reservation import Granted, Reserved, Settled
from gateway.store import calls
from tests.lua.caller import Caller, contents

EPOCH = "qg:{p00}:epoch"


@pytest.fixture(params=[None, "restoring since 2026-11-20T10:00:00Z"])
def caller_without(request: pytest.FixtureRequest, caller: Caller) -> Caller:
    """A caller of a partition whose epoch is missing, or whose restore is under way."""
    caller.client.delete(EPOCH)
    if request.param is not None:
        caller.client.set(EPOCH, request.param)
    return caller


def test_an_unknown_account_is_neither_held_for_nor_granted_to_nor_opened(caller_without: Caller) -> None:
    caller = caller_without

    with pytest.raises(StoreUnready):
        caller.reserve("r1", 1)
    with pytest.raises(StoreUnready):
        caller.reserve("r2", 0)
    with pytest.raises(StoreUnready):
        caller.grant("g1", 5)
    opening = calls.open_account(caller.key, caller.tier, now_ms=caller.now_ms)
    with pytest.raises(StoreUnready):
        caller.runner.run(opening)

    assert contents(caller.client) == {}


def test_a_known_account_works_as_ever(caller: Caller) -> None:
    caller.reserve("r1", 3)
    caller.client.delete(EPOCH)

    assert caller.settle("r1", 2) == Settled("r1", 2, 0, 18)
    assert isinstance(caller.reserve("r2", 1), Reserved)
    assert caller.grant("g1", 5) == Granted("g1", 22)
    assert caller.open().how == "exists"


def test_with_its_epoch_an_unknown_account_is_opened(caller_without: Caller) -> None:
    caller_without.client.set(EPOCH, "set 2026-11-20T10:00:00Z by a test")

    assert isinstance(caller_without.reserve("r1", 1), Reserved)


def test_the_limits_of_an_unknown_account_can_be_read_all_the_same(caller_without: Caller) -> None:
    assert caller_without.runner.run(calls.limits(caller_without.key, ())) == []
