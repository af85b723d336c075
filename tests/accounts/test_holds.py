"""Open holds: listed with the oldest lease first, given back once, with a note of who did it."""

from __future__ import annotations

import pytest

from gateway.accounts import audit, balances, holds
from gateway.accounts.system import System
from gateway.domain.errors import LedgerError, RefusedInput
from gateway.store import reservations
from tests.accounts.calls_made import expire, hold, open_account, settle

LATER_MS = 4_000_000_000_000


def test_open_holds_are_listed_with_the_oldest_lease_first(system: System) -> None:
    for account in ("ada", "bob"):
        open_account(system, account)
    hold(system, "r-long", "ada", 2, lease_ms=90_000)
    hold(system, "r-short", "bob", 3, lease_ms=10_000)
    hold(system, "r-ended", "bob", 1)
    settle(system, "r-ended", 1, account="bob")

    short, long = holds.open_holds(system)

    assert (short.id, short.account, short.amount, short.operation, short.model) == (
        "r-short", "bob", 3, "chat", "gpt-4o",
    )  # fmt: skip
    assert dict(short.parts) == {"credits:signup": 3} or sum(dict(short.parts).values()) == 3
    assert short.lease_until_ms - short.opened_at_ms == 10_000
    assert long.id == "r-long"
    assert [found.id for found in holds.open_holds(system, "ada")] == ["r-long"]


def test_pages_of_holds_with_the_same_lease_end_miss_none_and_repeat_none(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "PAGE", 3)
    open_account(system, tier="pro")
    ids = [f"r{number:02d}" for number in range(20)]
    for id in ids:
        hold(system, id, amount=1)
    # Of many that were opened at once, all leases end in the same millisecond.
    system.redis.zadd("qg:{p00}:holds", {id: LATER_MS + (int(id[1:]) >= 14) for id in ids})

    found, after = [], None
    while page := holds.open_holds(system, limit=4, after=after):
        found += [each.id for each in page]
        after = page[-1].place

    assert found == ids
    assert [each.id for each in holds.open_holds(system, limit=1000)] == ids


def test_the_holds_of_all_partitions_are_merged(system: System) -> None:
    import dataclasses

    many = dataclasses.replace(system, config=dataclasses.replace(system.config, partitions=4))
    for number, account in enumerate(("ada", "bob", "carl", "dora")):
        open_account(many, account)
        hold(many, f"r{number}", account, 1, lease_ms=60_000 + number * 1000)
    assert len({many.keys.partition(account) for account in ("ada", "bob", "carl", "dora")}) > 1

    assert [each.id for each in holds.open_holds(many)] == ["r0", "r1", "r2", "r3"]
    assert reservations.find(many.redis, many.keys, "r2")[0] is not None


def test_a_released_hold_goes_back_in_full_and_is_noted(system: System) -> None:
    open_account(system)
    hold(system, "r1", amount=4)
    before = balances.read(system, "ada").available

    released = holds.release(system, "r1", "cli:root", "its client is gone")

    assert released.amount == 4
    assert balances.read(system, "ada").available == before + 4
    assert balances.read(system, "ada").account.held == 0
    (noted,) = audit.about(system.ledger, "reservation:r1")
    assert (noted.actor, noted.action, noted.reason) == ("cli:root", "hold.release", "its client is gone")
    assert noted.before["amount"] == 4


def test_a_hold_that_has_ended_is_not_released(system: System) -> None:
    open_account(system)
    hold(system, "r1")
    settle(system, "r1", 3)

    with pytest.raises(RefusedInput, match="r1 has ended: settled"):
        holds.release(system, "r1", "cli:root", "x")
    with pytest.raises(RefusedInput, match="there is no open hold r2"):
        holds.release(system, "r2", "cli:root", "x")
    assert audit.about(system.ledger, "reservation:r1") == []


def test_a_hold_that_ends_while_it_is_released_is_not_noted(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    open_account(system)
    hold(system, "r1")
    stale = reservations.find(system.redis, system.keys, "r1")
    settle(system, "r1", 3)
    monkeypatch.setattr(reservations, "find", lambda *_: stale)

    with pytest.raises(RefusedInput, match="r1 ended meanwhile: settled"):
        holds.release(system, "r1", "cli:root", "x")

    assert audit.about(system.ledger, "reservation:r1") == []


def test_a_release_needs_a_reason(system: System) -> None:
    open_account(system)
    hold(system, "r1")

    with pytest.raises(RefusedInput, match="a reason is needed"):
        holds.release(system, "r1", "cli:root", " ")
    assert len(holds.open_holds(system)) == 1


def test_a_hold_whose_note_cannot_be_written_stays(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    open_account(system)
    hold(system, "r1")

    def broken(*_: object, **__: object) -> bool:
        raise LedgerError("away")

    monkeypatch.setattr(audit, "note", broken)
    with pytest.raises(LedgerError):
        holds.release(system, "r1", "cli:root", "x")

    assert [each.id for each in holds.open_holds(system)] == ["r1"]


@pytest.mark.parametrize("limit", [0, 1001, -1])
def test_a_limit_out_of_range_is_refused(system: System, limit: int) -> None:
    with pytest.raises(RefusedInput, match="the limit"):
        holds.open_holds(system, limit=limit)


def test_an_expired_hold_is_not_listed(system: System) -> None:
    open_account(system)
    hold(system, "r1")
    expire(system, LATER_MS)

    assert holds.open_holds(system) == []
