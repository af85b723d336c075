"""annotate: a reservation says what it is for, until its end tells the ledger; nobody else's is touched."""

from __future__ import annotations

from typing import Any

from gateway.domain.reservation import Reserved, Unknown
from gateway.store import notes
from gateway.store.keys import Keys
from gateway.store.notes import Annotated
from gateway.store.runner import Runner
from tests.lua.caller import FREE, Caller, contents


def test_what_a_reservation_is_for_is_told_when_it_ends(runner: Runner) -> None:
    caller = Caller(runner, FREE)
    assert isinstance(caller.reserve("r1", 2), Reserved)

    for _ in range(2):
        assert runner.run(notes.annotate(caller.key, "r1", "größer", '{"a":1}')) == Annotated("r1")
    caller.settle("r1", 2)

    events: Any = runner.client.xrange(Keys.of_partition("p00", "events"))
    told = events[-1][1]
    assert (told[b"purpose"].decode(), told[b"metadata"]) == ("größer", b'{"a":1}')


def test_nothing_is_noted_on_what_is_not_open_or_anothers(runner: Runner) -> None:
    ada, bob = Caller(runner, FREE), Caller(runner, FREE, "bob")
    ada.reserve("r1", 2)
    ada.reserve("r2", 2)
    ada.settle("r2", 2)
    before = contents(runner.client)

    for key, id in ((bob.key, "r1"), (ada.key, "r2"), (ada.key, "r3")):
        assert runner.run(notes.annotate(key, id, "a site", "")) == Unknown(id)
    assert contents(runner.client) == before
