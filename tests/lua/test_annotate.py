"""annotate: a reservation says what it is for, until its end tells the ledger; nobody else's is touched."""

from __future__ import annotations

from typing import Any

from gateway.domain.reservation import Reserved, Unknown
from gateway.domain.schedule import schedule
from gateway.store import calls, notes
from gateway.store.keys import Keys
from gateway.store.notes import Annotated
from gateway.store.runner import Runner
from tests.lua.caller import FREE, NOON_MS, Caller, contents


def reserve(caller: Caller, id: str) -> None:
    """As the API does: on no route."""
    terms = calls.terms("site", "", "p1", FREE, schedule(FREE, NOON_MS))
    held = caller.runner.run(calls.reserve(caller.key, id, 2, terms, version=caller.version, now_ms=NOON_MS))
    assert isinstance(held, Reserved)
    caller.version = held.version


def test_what_a_reservation_is_for_is_told_when_it_ends(runner: Runner) -> None:
    caller = Caller(runner, FREE)
    reserve(caller, "r1")

    for _ in range(2):
        assert runner.run(notes.annotate(caller.key, "r1", "größer", '{"a":1}')) == Annotated("r1")
    caller.settle("r1", 2)

    events: Any = runner.client.xrange(Keys.of_partition("p00", "events"))
    told = events[-1][1]
    assert (told[b"purpose"].decode(), told[b"metadata"]) == ("größer", b'{"a":1}')


def test_nothing_is_noted_on_what_is_not_open_or_anothers(runner: Runner) -> None:
    ada, bob = Caller(runner, FREE), Caller(runner, FREE, "bob")
    for id in ("r1", "r2"):
        reserve(ada, id)
    ada.settle("r2", 2)
    ada.reserve("proxied", 2)
    before = contents(runner.client)

    for key, id in ((bob.key, "r1"), (ada.key, "r2"), (ada.key, "r3"), (ada.key, "proxied")):
        assert runner.run(notes.annotate(key, id, "a site", "")) == Unknown(id)
    assert contents(runner.client) == before
