"""The inbox: an event stays until it is acknowledged, and what a dead worker held is taken over."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gateway.store.inbox import CLAIM_IDLE_MS, GROUP, Delivery, Inbox, consumer_name
from gateway.store.keys import Keys
from tests.ledger.events import fields_of, usage
from tests.worker.stream import Stream


@pytest.fixture(params=["redis_62", "redis_7"])
def stream(request: pytest.FixtureRequest) -> Stream:
    """A stream on each kind of server: they claim and forget differently."""
    client: redis.Redis = request.getfixturevalue(request.param).client
    client.flushall()
    return Stream(client)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.fields["id"] for delivery in deliveries]


def consumers(stream: Stream) -> list[str]:
    found: Any = stream.client.xinfo_consumers(stream.key, GROUP)
    return sorted(consumer["name"].decode() for consumer in found)


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_inbox_is_made_where_none_is(stream: Stream) -> None:
    inbox = Inbox(stream.client, "p00", "one")

    inbox.open()

    assert inbox.take(10) == []
    assert (inbox.backlog(), inbox.poisoned()) == (0, 0)


def test_what_was_written_before_the_inbox_was_made_is_in_it(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))

    assert ids(stream.worker("one").take(10)) == ["r1", "r2"]


def test_opening_an_inbox_again_hands_nothing_out_twice(stream: Stream) -> None:
    stream.add(usage("r1"))
    stream.worker("one").take(10)

    assert stream.worker("one").take(10) == []


def test_a_key_that_is_no_stream_is_told(stream: Stream) -> None:
    stream.client.set(stream.key, "by hand")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Inbox(stream.client, "p00").open()


# ── taking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_taken_oldest_first_so_many_at_a_time(stream: Stream) -> None:
    stream.add(*(usage(f"r{number}") for number in range(5)))
    inbox = stream.worker("one")

    assert [ids(inbox.take(2)) for _ in range(4)] == [["r0", "r1"], ["r2", "r3"], ["r4"], []]


def test_an_event_is_delivered_with_its_fields_and_its_place(stream: Stream) -> None:
    event = usage("r1", account="Ådå-🦆", model="模型 «x»")
    place = stream.add_fields(fields_of(event))

    assert stream.worker("one").take(1) == [Delivery(place, fields_of(event))]


def test_an_event_goes_to_one_worker(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))

    assert (ids(stream.worker("one").take(1)), ids(stream.worker("two").take(5))) == (["r1"], ["r2"])


def test_what_was_held_for_too_long_is_taken_over_before_anything_new(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))
    stream.worker("dead").take(2)
    stream.age(CLAIM_IDLE_MS)
    stream.add(usage("r3"))
    heir = stream.worker("heir")

    assert [ids(heir.take(10)) for _ in range(3)] == [["r1", "r2"], ["r3"], []]
    assert {entry["consumer"] for entry in stream.pending()} == {b"heir"}


def test_what_was_held_for_a_shorter_time_is_left_to_its_worker(stream: Stream) -> None:
    stream.add(usage("r1"))
    stream.worker("busy").take(1)
    stream.age(CLAIM_IDLE_MS // 2)

    assert stream.worker("other").take(10) == []


def test_a_worker_takes_up_what_it_held_itself(stream: Stream) -> None:
    stream.add(usage("r1"))
    inbox = stream.worker("one")
    inbox.take(1)
    stream.age()

    assert ids(inbox.take(1)) == ["r1"]


def test_one_takes_over_what_two_cannot_both_have(stream: Stream) -> None:
    stream.add(usage("r1"))
    stream.worker("dead").take(1)
    stream.age()

    assert (ids(stream.worker("one").take(1)), ids(stream.worker("two").take(1))) == (["r1"], [])


def test_an_event_that_was_deleted_by_hand_does_not_stop_the_others(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"), usage("r3"))
    deliveries = stream.worker("dead").take(3)
    stream.client.xdel(stream.key, deliveries[0].stream_id)
    stream.age()
    heir = stream.worker("heir")

    taken = ids(heir.take(10))

    assert taken == ["r2", "r3"]
    stream.add(usage("r4"))
    stream.age(0)
    assert ids(heir.take(10)) == ["r4"]


def test_bytes_that_are_no_text_reach_the_worker_as_marks(stream: Stream) -> None:
    stream.add_fields(fields_of(usage("r1")) | {"model": b"gpt-\xff"})

    (delivery,) = stream.worker("one").take(1)

    assert delivery.fields["model"] == "gpt-�"


def test_a_field_whose_name_is_no_text_stops_nobody(stream: Stream) -> None:
    stream.add_fields({b"\xff": "by hand"})
    stream.add(usage("r1"))

    assert [delivery.fields.get("id") for delivery in stream.worker("one").take(5)] == [None, "r1"]


# ── letting go ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_done_leaves_the_stream_and_nothing_else_does(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"), usage("r3"))
    inbox = stream.worker("one")
    first, _ = inbox.take(2)

    inbox.done([first])

    assert stream.ids() == ["r2", "r3"]
    assert len(stream.pending()) == 1
    assert inbox.backlog() == 2
    stream.age()
    assert ids(stream.worker("two").take(5)) == ["r2"]


def test_nothing_is_done_when_nothing_was(stream: Stream) -> None:
    stream.add(usage("r1"))

    stream.worker("one").done([])

    assert stream.ids() == ["r1"]


def test_what_is_done_twice_is_done_once(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))
    inbox = stream.worker("one")
    taken = inbox.take(1)

    inbox.done(taken)
    inbox.done(taken)

    assert stream.ids() == ["r2"]


def test_tries_count_deliveries_to_whomever(stream: Stream) -> None:
    stream.add(usage("r1"))
    (delivery,) = stream.worker("one").take(1)
    seen = [stream.worker("one").tries(delivery)]

    for worker in ("two", "one", "three"):
        stream.age()
        stream.worker(worker).take(1)
        seen.append(stream.worker("any").tries(delivery))

    assert seen == [1, 2, 3, 4]


def test_what_was_done_meanwhile_has_no_tries(stream: Stream) -> None:
    stream.add(usage("r1"))
    inbox = stream.worker("one")
    taken = inbox.take(1)
    inbox.done(taken)

    assert inbox.tries(taken[0]) == 0


def test_an_event_that_is_set_aside_is_kept_with_the_reason(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))
    inbox = stream.worker("one")
    first, second = inbox.take(2)

    inbox.set_aside(first, "too long: " + "x" * 1000)

    assert (stream.ids(), len(stream.pending()), inbox.poisoned()) == (["r2"], 1, 1)
    (kept,) = stream.read(Keys.of_partition("p00", "poison"))
    assert kept == first.fields | {"stream_id": first.stream_id, "poison_reason": "too long: " + "x" * 490}
    assert inbox.tries(second) == 1


# ── workers that are gone ────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_that_left_nothing_are_forgotten_once_they_are_idle(stream: Stream) -> None:
    stream.add(usage("r1"), usage("r2"))
    inbox = stream.worker("done")
    inbox.done(inbox.take(1))
    stream.worker("dead").take(1)

    inbox.forget_idle_consumers()
    assert consumers(stream) == ["dead", "done"]
    inbox.forget_idle_consumers(idle_ms=-1)

    # Forgetting the one that holds an event would forget that it was delivered.
    assert consumers(stream) == ["dead"]
    assert [entry["consumer"] for entry in stream.pending()] == [b"dead"]


def test_a_worker_that_was_forgotten_works_on(stream: Stream) -> None:
    inbox = stream.worker("one")
    inbox.take(1)
    inbox.forget_idle_consumers(idle_ms=-1)
    stream.add(usage("r1"))

    assert ids(inbox.take(1)) == ["r1"]


def test_no_two_workers_have_one_name() -> None:
    assert len({consumer_name() for _ in range(100)}) == 100


def test_partitions_are_apart(stream: Stream) -> None:
    other = Stream(stream.client, "p01")
    stream.add(usage("r1"))
    other.add(usage("r2"))

    assert ids(other.worker("one").take(5)) == ["r2"]
    assert ids(stream.worker("one").take(5)) == ["r1"]
